"""The one table from error to answer, and what is written by it."""

from http import HTTPStatus

import pytest

from service import errors
from service.errors import PROBLEM_TYPES, ServiceError
from service.problems import problem_of, retry_headers


def leaves(base: type[ServiceError]) -> set[type[ServiceError]]:
    below = base.__subclasses__()
    return set().union(*map(leaves, below)) if below else {base}


def test_every_error_has_exactly_one_answer():
    assert leaves(ServiceError) == set(PROBLEM_TYPES)
    assert len({kind.slug for kind in PROBLEM_TYPES.values()}) == len(PROBLEM_TYPES)


def test_the_docstring_draws_the_whole_tree():
    for error, kind in PROBLEM_TYPES.items():
        line = next(line for line in errors.__doc__.splitlines() if error.__name__ in line)
        assert kind.status == 503 or str(kind.status) in line


def test_every_status_exists():
    assert {kind.status for kind in PROBLEM_TYPES.values()} - {499} <= set(HTTPStatus)


def test_a_service_error_says_what_it_was_raised_with():
    problem = problem_of(errors.ImageTooLarge("got 9 pixels"), "abc")
    assert (problem.status, problem.detail, problem.request_id) == (413, "got 9 pixels", "abc")


@pytest.mark.parametrize("error", [RuntimeError("/etc/secret"), KeyError("x"), MemoryError()])
def test_any_other_error_tells_nothing_of_itself(error):
    problem = problem_of(error, "abc")
    assert problem.status == 500
    assert problem.type.endswith(":internal-error")
    assert "secret" not in problem.model_dump_json()


@pytest.mark.parametrize(("given", "stated"), [(0, "1"), (7, "7")])
def test_whoever_is_refused_for_now_is_told_when_to_return(given, stated):
    assert retry_headers(errors.QueueFull("full", given)) == {"Retry-After": stated}


def test_nobody_else_is_told_to_return():
    assert retry_headers(errors.NoSuchCategory("no")) == {}
    assert retry_headers(RuntimeError()) == {}
