"""The parameters of an inference request: options, fields of the part, and its inspection id."""

from dataclasses import replace

from pydantic import ValidationError

from service.api.v2.schemas import Parameters
from service.errors import InvalidTensor
from service.inspection.options import InspectOptions, PartFields
from service.inspection.result import Inspected, PartResult
from service.workers.jobs import Priority

INSPECTION_ID = "inspection_id"
_USED_PARAMETERS = {"binary_data_output", "layout", "priority", "timeout"}
"""Parameters that the service uses; the answer repeats all others."""


def options_of_parameters(parameters: Parameters, base: InspectOptions) -> InspectOptions:
    """Read the parameters of the schedule policy and of the part.

    The shorter time limit of parameters and headers applies.
    """
    timeout, priority = (_whole(parameters, name) for name in ("timeout", "priority"))
    part = {name: parameters.get(name) for name in PartFields.model_fields}
    try:
        fields = PartFields.model_validate(part)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise InvalidTensor(f"the parameter {fault['loc'][0]}: {fault['msg']}") from error
    return replace(
        base,
        timeout_s=base.within(timeout / 1e6) if timeout else base.timeout_s,
        priority=Priority.HIGH if priority == 1 else base.priority,
        part=fields,
    )


def inspection_id_of(parameters: Parameters) -> str | None:
    """Return the inspection id that the client made, as sent. Raises `InvalidTensor`."""
    given = parameters.get(INSPECTION_ID)
    if given is not None and not isinstance(given, str):
        raise InvalidTensor(
            f"the parameter {INSPECTION_ID} must be a text, got {str(given)[:50]!r}"
        )
    return given


def parameters_of_answer(parameters: Parameters, result: PartResult) -> Parameters:
    """Return the parameters of the answer: the client's own, how it was computed and recorded."""
    kept = {name: value for name, value in parameters.items() if name not in _USED_PARAMETERS}
    recorded: Parameters = {INSPECTION_ID: str(result.inspection_id)}
    views = (view for view in result.views if isinstance(view, Inspected))
    if engines := list(dict.fromkeys(view.finding.engine for view in views if view.finding.engine)):
        recorded["engine"] = "; ".join(engines)
    if result.archived is not None:
        recorded["archived"] = result.archived
    if result.replayed:
        recorded["replayed"] = True
    return kept | recorded


def _whole(parameters: Parameters, name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidTensor(f"{name} must be a whole number of 0 or more, got {str(value)[:50]!r}")
    return value
