"""Which route a request is for: found once, before anything else looks at the request.

The router finds it again when the request has come that far, and by the same rules. A request that
no route takes is UNDECLARED, with one exception: a path that ends as an inspecting route's does
asks for a decision, by a wrong prefix or with a slash too many, and gets UNDECIDED for an answer.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import routing
from starlette.routing import BaseRoute, Mount, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.declaration import UNDECLARED, Declaration, Matched, Route, declared_by, put_match
from service.problem_types import PROBLEM_TYPES

UNMATCHED = "unmatched"
"""Stands where a route's template would, for requests that no route takes."""

_COMMON_CODES = frozenset({0, 200, 405, 422, 499, 500, 503})
"""What any route may answer; 0 is no answer, since the client had gone."""

_PARAMETER = re.compile(r"\{[^}]*\}")


class Matching:
    """ASGI middleware, outermost: says what a request's route declares, see `declaration_of`."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        """`routes` are all of the application, which by now are complete."""
        self._app = app
        self._table = RouteTable(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            scope.setdefault("state", {})
            put_match(scope, self._table.find(scope["method"], _path_within(scope)))
        await self._app(scope, receive, send)


def likely_codes(routes: Sequence[BaseRoute]) -> dict[str, set[int]]:
    """Return the status codes that each route may answer, by template as the log names it.

    Every route may be done, fail, or be asked wrongly, and others are declared; one that inspects,
    and a path that no route takes, may answer every problem there is.
    """
    every = {*_COMMON_CODES, *(kind.status for kind in PROBLEM_TYPES.values())}
    codes = {UNMATCHED: every}
    for route in _flat(routes):
        declared = {code for code in getattr(route, "responses", None) or () if code != "default"}
        inspects = declared_by(getattr(route, "endpoint", None)).inspects
        likely = every if inspects else declared | _COMMON_CODES
        codes[route.path] = codes.get(route.path, set()) | likely
    return codes


@dataclass(frozen=True, slots=True)
class _Entry:
    template: str
    pattern: re.Pattern[str]
    methods: Collection[str] | None
    matched: Matched
    of_path_alone: Matched

    @classmethod
    def of(
        cls,
        template: str,
        methods: Collection[str] | None,
        declaration: Declaration,
        route: Route,
    ) -> "_Entry":
        # A path that is asked by another method inspects nothing, and needs no scope to be told so.
        for_other_methods = replace(declaration, inspects=False, scope=None)
        return cls(
            template,
            compile_path(template)[0],
            methods,
            Matched(declaration, route),
            Matched(for_other_methods, route),
        )


class RouteTable:
    """The routes of an application in the order in which its router tries them."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        entries = list(_entries(routes))
        self._entries = entries
        self._by_path = {
            entry.template: [other for other in entries if other.pattern.match(entry.template)]
            for entry in entries
            if not _PARAMETER.search(entry.template)
        }
        self._endings = _endings(entries)

    def find(self, method: str, path: str) -> Matched:
        """Return what takes the request: of all routes that do the first, as the router would."""
        of_path_alone = None
        for entry in self._candidates(path):
            if entry.methods is None or method in entry.methods:
                return entry.matched
            of_path_alone = of_path_alone or entry.of_path_alone
        matched = of_path_alone or Matched(UNDECLARED)
        if path.rstrip("/").endswith(self._endings.get(method, ())):
            return replace(matched, declaration=replace(matched.declaration, inspects=True))
        return matched

    def _candidates(self, path: str) -> Iterable[_Entry]:
        literal = self._by_path.get(path)
        if literal is not None:
            return literal
        return (entry for entry in self._entries if entry.pattern.match(path))


def _entries(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[_Entry]:
    for route in _flat(routes):
        original = getattr(route, "original_route", route)
        if isinstance(original, Mount):
            path = prefix + route.path.rstrip("/")
            yield from _entries(original.routes, path)
            yield _Entry.of(path + "/{path:path}", None, declared_by(original.app), original)
        elif getattr(route, "endpoint", None) and hasattr(original, "methods"):
            declaration = declared_by(route.endpoint)
            yield _Entry.of(prefix + route.path, route.methods, declaration, original)


def _flat(routes: Sequence[BaseRoute]) -> Iterable[Any]:
    """Return the routes with those of included routers, which a newer FastAPI holds as such."""
    contexts = getattr(routing, "iter_route_contexts", None)
    return contexts(routes) if contexts else routes


def _endings(entries: Iterable[_Entry]) -> dict[str, tuple[str, ...]]:
    """Return how paths end that inspect, behind their last parameter, by method."""
    endings = defaultdict[str, set[str]](set)
    for entry in entries:
        ending = _PARAMETER.split(entry.template)[-1]
        if entry.matched.declaration.inspects and ending:
            for method in entry.methods or ():
                endings[method].add(ending)
    return {method: tuple(sorted(found)) for method, found in endings.items()}


def _path_within(scope: Scope) -> str:
    """Return the path that routes are matched by: without what is before the application's own."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    inside = path.removeprefix(root)
    return inside if not inside or inside.startswith("/") else path
