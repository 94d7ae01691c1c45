"""The answer to each error, defined once for problems, OpenAPI, Lookout and the docs.

    PROBLEM_TYPES[QueueFull].status

`python -m tests.service.api.problem_docs` writes the table in docs/integrate.md.
"""

from service import errors
from service.problem_types import advice
from service.problem_types.kind import ProblemType
from service.problem_types.of_requests import OF_REQUESTS
from service.problem_types.of_the_service import OF_THE_SERVICE

__all__ = ["INTERNAL", "PROBLEM_TYPES", "ProblemType"]

INTERNAL = ProblemType(500, "internal-error", "The service failed", advice=advice.READ_LOG)
PROBLEM_TYPES: dict[type[errors.ServiceError], ProblemType] = {**OF_REQUESTS, **OF_THE_SERVICE}
