"""The one table from error to answer, and the texts made from it."""

from http import HTTPStatus

import pytest

from service import errors
from service.errors import ServiceError
from service.http.problems import problem_of, retry_headers
from service.problem_types import INTERNAL, PROBLEM_TYPES
from tests.service.api.problem_docs import API, HEAD, advice_rows


def leaves(base: type[ServiceError]) -> set[type[ServiceError]]:
    below = base.__subclasses__()
    return set().union(*map(leaves, below)) if below else {base}


def test_every_error_has_exactly_one_answer():
    assert leaves(ServiceError) == set(PROBLEM_TYPES)
    assert len({kind.slug for kind in PROBLEM_TYPES.values()}) == len(PROBLEM_TYPES)


def test_every_problem_is_shown_by_an_example():
    assert {kind.slug for kind in PROBLEM_TYPES.values() if not kind.example} == {"client-gone"}


def test_the_docs_say_what_to_do_about_each():
    """After changing the table, run `python -m tests.service.api.problem_docs`."""
    rows = advice_rows()
    assert HEAD + "\n".join(rows) + "\n\n" in API.read_text("utf-8")
    for kind in (INTERNAL, *PROBLEM_TYPES.values()):
        if kind.advice:
            (row,) = (row for row in rows if f"`{kind.slug}`" in row)
            assert str(kind.status) in row
            assert kind.advice in row


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


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.Unauthenticated("no"), {"WWW-Authenticate": 'Bearer realm="mambaad"'}),
        (errors.BodyTooSlow("no"), {"Connection": "close"}),
        (errors.UnsupportedEncoding("no"), {"Accept-Encoding": "gzip, deflate"}),
        (errors.RateLimited("no", 3), {"Retry-After": "3"}),
    ],
)
def test_an_answer_carries_what_its_problem_needs(error, expected):
    assert retry_headers(error) == expected


def test_nobody_else_is_told_to_return():
    assert retry_headers(errors.NoSuchCategory("no")) == {}
    assert retry_headers(RuntimeError()) == {}
