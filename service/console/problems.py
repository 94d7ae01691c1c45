"""Shows every problem of a page's request as a page.

Middleware refuses some requests before they reach a route, so answers are replaced on their way
out. Log and metrics keep the original problems.
"""

import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.console.visits import Visit, local_address, visit_of
from service.http.declaration import declaration_of
from service.http.problems import PROBLEM_JSON

_PREFIX = "/console/"
_REPLACED = {"content-type", "content-length", "www-authenticate", "content-security-policy"}


class PageProblems:
    """ASGI middleware that shows problems to people; programs and pictures get them as they are."""

    def __init__(self, app: ASGIApp, sign_in: str) -> None:
        """`sign_in` is the path of the page for signing in."""
        self._app = app
        self._sign_in = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; paths that are no page's pass through."""
        is_page = scope["type"] == "http" and (
            declaration_of(scope).is_page or scope["path"].startswith(_PREFIX)
        )
        if not is_page:
            await self._app(scope, receive, send)
            return
        problem_start: Message | None = None
        body = b""

        async def send_as_page(message: Message) -> None:
            nonlocal problem_start, body
            if message["type"] == "http.response.start":
                is_problem = Headers(raw=message["headers"]).get("content-type") == PROBLEM_JSON
                if is_problem and visit_of(Request(scope)).wants_html:
                    problem_start = message
                    return
            if problem_start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                visit = visit_of(Request(scope))
                answer = self._page(visit, json.loads(body))
                given = Headers(raw=problem_start["headers"]).items()
                for name, value in given:
                    if name not in _REPLACED:
                        answer.headers.setdefault(name, value)
                await answer(scope, receive, send)

        await self._app(scope, receive, send_as_page)

    def _page(self, visit: Visit, problem: dict[str, Any]) -> Response:
        if problem["status"] == 401 and visit.is_known:
            # The path leads nowhere, so it took no session; signing in again would not help.
            path = visit.request.scope["path"]
            problem = {**problem, "status": 404, "title": "Not Found", "detail": path[:200]}
        status: int = problem["status"]
        values = {name: problem[name] for name in ("title", "detail", "status", "request_id")}
        values["is_old"] = getattr(visit.request.state, "has_old_token", False)
        if status == 401:
            address = f"{self._sign_in}?{urlencode({'next': _here(visit)})}"
            if visit.is_partial:  # htmx opens the address instead of showing the answer
                return Response(status_code=401, headers={"HX-Redirect": visit.root + address})
            return visit.redirect(address)
        if visit.is_partial:
            return visit.page("problem_part.html", status, **values)
        return visit.page("problem.html", status, **values)


def _here(visit: Visit) -> str:
    """Return the address of the page that a person sees, for after the sign-in."""
    request = visit.request
    if visit.is_partial:
        shown = urlsplit(request.headers.get("hx-current-url", "/"))
        path = shown.path.removeprefix(visit.root)
        return local_address(path + (f"?{shown.query}" if shown.query else ""))
    if request.method != "GET":
        return "/"
    query = request.url.query
    return str(request.scope["path"]) + (f"?{query}" if query else "")
