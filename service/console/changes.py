"""Who makes a change in the console, and why: for the audit. Who gives a verdict, for the archive.

new = NewVerdict(Verdict.GOOD, reviewer_of(visit))
"""

from collections.abc import Mapping
from urllib.parse import quote, unquote

from fastapi import Response
from pydantic import BaseModel, ValidationError

from service.api.admin.schemas import Reason, Who
from service.api.documents import build
from service.api.inspections.door import author_of as author_at
from service.api.requests import author_of_change
from service.console.visits import Visit
from service.errors import InvalidRequest
from service.versions.changes import Author

NAME_COOKIE = "mambaad_reviewer"


class _Authorship(BaseModel):
    who: Who
    reason: Reason


class _Name(BaseModel):
    who: Who


def author_of(visit: Visit, fields: Mapping[str, str]) -> Author:
    """Return the author of a change: the name of the key, else the form's field `who`.

    The field `reason` says why. Raises `InvalidRequest`.
    """
    caller = visit.caller
    assert caller is not None  # a route that changes something needs a scope
    who = caller.name if visit.session.is_signed_in else fields.get("who", "")
    given = build(_Authorship, {"who": who, "reason": fields.get("reason", "")}, "form")
    return author_of_change(visit.request, given.who, given.reason)


def reviewer_name(visit: Visit) -> str | None:
    """Return the name of the key, or the name that this browser keeps; None without either."""
    assert visit.caller is not None  # a route that needs a scope
    if visit.session.is_signed_in:
        return visit.caller.name
    try:
        return _Name(who=unquote(visit.request.cookies.get(NAME_COOKIE, ""))).who
    except ValidationError:
        return None


def reviewer_of(visit: Visit, fields: Mapping[str, str] | None = None) -> str:
    """Return the author of a verdict as the API writes it.

    Without a key, it has the name of the form's field `who`, else the one that this browser keeps.
    Raises `InvalidRequest` without any, or `RequestValidationError`.
    """
    name = reviewer_name(visit)
    if fields and "who" in fields:
        name = build(_Name, {"who": fields["who"]}, "form").who
    if name is None:
        raise InvalidRequest("say your name first: it is kept with each of your verdicts")
    return author_at(visit.request, None if visit.session.is_signed_in else name)


def keep_name(visit: Visit, response: Response, fields: Mapping[str, str]) -> None:
    """Keep the form's field `who` in this browser. Raises `RequestValidationError`."""
    given = build(_Name, {"who": fields.get("who", "")}, "form")
    visit.set_choice(response, NAME_COOKIE, quote(given.who))
