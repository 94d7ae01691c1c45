"""Who makes a change in the console, and why: for the audit."""

from collections.abc import Mapping

from pydantic import BaseModel

from service.api.admin.schemas import Reason, Who
from service.api.documents import build
from service.console.visits import Visit
from service.http.request_log import request_id_of
from service.versions.rollout import Author


class _Authorship(BaseModel):
    who: Who
    reason: Reason


def author_of(visit: Visit, fields: Mapping[str, str]) -> Author:
    """Return the author of a change: the name of the key, else the form's field `who`.

    The field `reason` says why. Raises `InvalidRequest`.
    """
    caller = visit.caller
    assert caller is not None  # a route that changes something needs a scope
    who = caller.name if visit.session.is_signed_in else fields.get("who", "")
    given = build(_Authorship, {"who": who, "reason": fields.get("reason", "")}, "form")
    return Author(given.who, given.reason, caller.name, request_id_of(visit.request.scope))
