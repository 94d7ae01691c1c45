"""Finds a request's route before anything else handles the request.

It follows the rules of the router, which runs later. A request that no route matches is UNDECLARED,
except that a path with the ending of an inspecting route (a wrong prefix, an extra slash) counts as
inspecting, so that its answer includes UNDECIDED.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import routing
from starlette.routing import BaseRoute, Mount, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.declaration import (
    UNDECLARED,
    Declaration,
    Matched,
    RouteWithPath,
    declared_by,
    put_match,
)
from service.problem_types import PROBLEM_TYPES

UNMATCHED = "unmatched"
"""Used as the route's template for requests that no route matches."""

_COMMON_CODES = frozenset({0, 200, 405, 422, 499, 500, 503})
"""Statuses of any route; 0 means no answer because the client left."""

_PARAMETER = re.compile(r"\{[^}]*\}")


class Matching:
    """ASGI middleware, outermost: puts the route's declaration into the request's scope."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        """`routes` are the application's complete routes."""
        self._app = app
        self._table = RouteTable(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            scope.setdefault("state", {})
            put_match(scope, self._table.find(scope["method"], _path_within(scope)))
        await self._app(scope, receive, send)


def likely_codes(routes: Sequence[BaseRoute]) -> dict[str, set[int]]:
    """Return the status codes that each route may answer, by its path template.

    These are the common codes and the declared ones; for an inspecting route and for unmatched
    paths, the codes of all problems.
    """
    every = {*_COMMON_CODES, *(kind.status for kind in PROBLEM_TYPES.values())}
    codes = {UNMATCHED: every}
    for route in _flat(routes):
        declaration = declared_by(getattr(route, "endpoint", None))
        if not declaration.is_counted:
            continue
        declared = {code for code in getattr(route, "responses", None) or () if code != "default"}
        likely = every if declaration.inspects else declared | _COMMON_CODES
        codes[route.path] = codes.get(route.path, set()) | likely
    return codes


@dataclass(frozen=True, slots=True)
class _RouteEntry:
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
        route: RouteWithPath,
    ) -> "_RouteEntry":
        # Another method on this path does not inspect, and any key may learn that (405).
        for_other_methods = replace(declaration, inspects=False, scopes=frozenset())
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
        """Return the first route that matches the request, as the router would."""
        of_path_alone = None
        for entry in self._candidates(path):
            if entry.methods is None or method in entry.methods:
                return entry.matched
            of_path_alone = of_path_alone or entry.of_path_alone
        matched = of_path_alone or Matched(UNDECLARED)
        if path.rstrip("/").endswith(self._endings.get(method, ())):
            return replace(matched, declaration=replace(matched.declaration, inspects=True))
        return matched

    def _candidates(self, path: str) -> Iterable[_RouteEntry]:
        literal = self._by_path.get(path)
        if literal is not None:
            return literal
        return (entry for entry in self._entries if entry.pattern.match(path))


def _entries(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[_RouteEntry]:
    for route in _flat(routes):
        original = getattr(route, "original_route", route)
        if isinstance(original, Mount):
            path = prefix + route.path.rstrip("/")
            yield from _entries(original.routes, path)
            yield _RouteEntry.of(path + "/{path:path}", None, declared_by(original.app), original)
        elif getattr(route, "endpoint", None) and hasattr(original, "methods"):
            declaration = declared_by(route.endpoint)
            yield _RouteEntry.of(prefix + route.path, route.methods, declaration, original)


def _flat(routes: Sequence[BaseRoute]) -> Iterable[Any]:
    """Return the routes, including those of included routers, which a newer FastAPI nests."""
    contexts = getattr(routing, "iter_route_contexts", None)
    return contexts(routes) if contexts else routes


def _endings(entries: Iterable[_RouteEntry]) -> dict[str, tuple[str, ...]]:
    """Return the path endings of inspecting routes after their last parameter, by method."""
    endings = defaultdict[str, set[str]](set)
    for entry in entries:
        ending = _PARAMETER.split(entry.template)[-1]
        if entry.matched.declaration.inspects and ending:
            for method in entry.methods or ():
                endings[method].add(ending)
    return {method: tuple(sorted(paths)) for method, paths in endings.items()}


def _path_within(scope: Scope) -> str:
    """Return the path without the application's `root_path`."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    inside = path.removeprefix(root)
    return inside if not inside or inside.startswith("/") else path
