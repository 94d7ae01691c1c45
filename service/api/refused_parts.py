"""Records parts whose requests failed before they were inspected, as UNDECIDED."""

from dataclasses import replace

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.guard import Caller
from service.api.submissions import ExpectedPart, caller_name, origin_of
from service.errors import ClientGone
from service.http.decision_headers import request_that_decides
from service.http.declaration import includes, match_of
from service.http.inspection_ids import RequestToInspect, request_to_inspect
from service.http.request_log import received_at, request_id_of
from service.inspection.options import InspectOptions
from service.inspection.recording import PartRecorder
from service.inspection.request import PartRequest
from service.inspection.result import problem_of_part
from service.inspection.submission import Submission

_REPLAYED = "Idempotency-Replayed"


class RefusedParts:
    """ASGI middleware: a failed answer of an inspecting route becomes a record.

    Requests of callers who may not inspect, and of unknown routes, are left out.
    """

    def __init__(self, app: ASGIApp, recorder: PartRecorder) -> None:
        self._app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        requested = request_to_inspect(scope) if scope["type"] == "http" else None
        if requested is None:
            await self._app(scope, receive, send)
            return
        is_failure = True  # no answer is one, too

        async def send_noting(message: Message) -> None:
            nonlocal is_failure
            if message["type"] == "http.response.start":
                is_failure = message["status"] >= 400 and _REPLAYED not in Headers(
                    raw=message["headers"]
                )
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except BaseException as error:
            self._record(scope, requested, *problem_of_part(error))
            raise
        if is_failure:
            self._record(scope, requested, *_problem_of_answer())

    def _record(self, scope: Scope, requested: RequestToInspect, slug: str, detail: str) -> None:
        matched = match_of(scope)
        caller: Caller | None = scope["state"].get("caller")
        may_inspect = caller is not None and includes(caller.scopes, matched.declaration.scopes)
        if requested.handed_over or matched.route is None or not may_inspect:
            return
        request = Request(scope)
        known = requested.part
        assert known is None or isinstance(known, ExpectedPart)
        options = InspectOptions(received_at=received_at(scope))
        part = PartRequest(
            known.category if known else "",
            [],
            replace(options, part=known.fields) if known else options,
            request_id_of(scope),
            submission=Submission(
                requested.inspection_id, origin_of(request), caller=caller_name(request)
            ),
        )
        self._recorder.refuse(part, slug, detail)


def _problem_of_answer() -> tuple[str, str]:
    """Return the slug and the detail of the problem that the request was answered."""
    request = request_that_decides()
    if request is None or request.problem is None:
        return problem_of_part(ClientGone("the connection closed before the answer"))
    return request.problem.type.rpartition(":")[2], request.problem.detail
