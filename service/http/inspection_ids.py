"""The inspection id of a request about one part, from its header or new.

    assign_inspection_id(scope)
    request_to_inspect(scope).inspection_id

The request log assigns it and adds it to the answer; the door replaces it by an id in the body.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.datastructures import Headers, MutableHeaders

from service.http.declaration import declaration_of
from service.identifiers import new_id, parse_id

INSPECTION_ID_HEADER = "X-Inspection-ID"
_REQUESTED = "inspection"


@dataclass(slots=True)
class RequestToInspect:
    """A request to an inspecting route.

    The id is `fresh` if the service has made it. `header` is the client's id as sent, valid or
    not. A request `of_many` parts has no id of its own in its answer. `part` is what the door knows
    of the part so far. Once `handed_over`, the inspection records the part, failed or not.
    """

    inspection_id: UUID
    fresh: bool
    header: str | None = None
    of_many: bool = False
    part: object = None
    handed_over: bool = False


def assign_inspection_id(scope: MutableMapping[str, Any]) -> None:
    """Give a request to an inspecting route its id; the door refuses an invalid header."""
    declaration = declaration_of(scope)
    if declaration.inspects:
        scope["state"][_REQUESTED] = _request_to_inspect(scope, declaration.has_many_parts)


def request_to_inspect(scope: Mapping[str, Any]) -> RequestToInspect | None:
    """Return the request to inspect; None for a request to another route."""
    requested: RequestToInspect | None = scope["state"].get(_REQUESTED)
    return requested


def add_inspection_id(scope: Mapping[str, Any], headers: MutableHeaders) -> None:
    """Add the id to the headers of an answer about one part, unless they have one."""
    requested = request_to_inspect(scope)
    if requested is not None and not requested.of_many:
        headers.setdefault(INSPECTION_ID_HEADER, str(requested.inspection_id))


def inspection_id_note(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the id for the log line of a request about one part."""
    requested = request_to_inspect(scope)
    if requested is None or requested.of_many:
        return {}
    return {"inspection_id": str(requested.inspection_id)}


def _request_to_inspect(scope: MutableMapping[str, Any], of_many: bool) -> RequestToInspect:
    header = Headers(scope=scope).get(INSPECTION_ID_HEADER)
    if header is not None and not of_many:
        try:
            return RequestToInspect(parse_id(header), fresh=False, header=header)
        except ValueError:
            pass
    return RequestToInspect(new_id(), fresh=True, header=header, of_many=of_many)
