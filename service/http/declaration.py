"""A route's declaration: whether it inspects, who may use it, whether it is a probe.

A route declares this where it is defined:

    @router.post("/detect")
    @declares(inspects=True, scope=Scope.DETECT)
    async def detect(request: Request) -> Response: ...

`matching` finds a request's route first; the log, the gate and all error answers then read the
declaration from the request's scope with `declaration_of`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Protocol, TypeVar

_ATTRIBUTE = "__declaration__"
_MATCHED = "matched"

Endpoint = TypeVar("Endpoint")


class Scope(StrEnum):
    """The permission of a key; `ADMIN` and `REVIEW` include `READ`.

    DETECT is all that a station needs: it inspects and records parts, and warms up a category. READ
    searches the archive, REVIEW gives verdicts and holds, ADMIN changes the service.
    """

    DETECT = "detect"
    READ = "read"
    REVIEW = "review"
    ADMIN = "admin"


_INCLUDED = {Scope.ADMIN: Scope.READ, Scope.REVIEW: Scope.READ}


def includes(scopes: Collection[Scope], needed: Collection[Scope]) -> bool:
    """Return whether a key's scopes include one of those that a route needs, if it needs any.

    >>> includes({Scope.REVIEW}, {Scope.READ}), includes({Scope.DETECT}, {Scope.READ})
    (True, False)
    """
    granted = {*scopes, *(_INCLUDED[scope] for scope in scopes if scope in _INCLUDED)}
    return not needed or not granted.isdisjoint(needed)


class Access(Enum):
    """Who may use a route without a key."""

    KEYED = "a key is required"
    OPEN = "no key is required"
    OPEN_FOR_METRICS = "a key is required only if metrics_require_key is set"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A route's declaration; by default it needs a key of any scope and does not inspect."""

    inspects: bool = False
    """Whether all its errors include UNDECIDED and the fail-safe."""

    has_many_parts: bool = False
    """Whether a request has many parts, each with an inspection id of its own."""

    scopes: frozenset[Scope] = frozenset()
    """The caller's key needs one of these scopes; empty: any key."""

    access: Access = Access.KEYED
    is_probe: bool = False
    """Whether machines poll it: logged at DEBUG, and not counted as rejected."""

    is_counted: bool = True
    """Whether the metrics of requests count and time it; the log has the others at DEBUG.

    Not so for files that pages load, and for streams, which last as long as somebody looks.
    """

    is_page: bool = False
    """Whether it is part of a page for people: a browser's session stands for a key."""

    page_policy: str | None = None
    """The Content-Security-Policy of an HTML page; None: a policy that forbids everything."""


UNDECLARED = Declaration()


class RouteWithPath(Protocol):
    """A route of the framework; the log uses its path template."""

    path: str


@dataclass(frozen=True, slots=True)
class Matched:
    """A request's route, None if no route matches, and its declaration."""

    declaration: Declaration = UNDECLARED
    route: RouteWithPath | None = None


def declares(
    *,
    inspects: bool = False,
    has_many_parts: bool = False,
    scope: Scope | Sequence[Scope] = (),
    access: Access = Access.KEYED,
    is_probe: bool = False,
    is_counted: bool = True,
    is_page: bool = False,
    page_policy: str | None = None,
) -> Callable[[Endpoint], Endpoint]:
    """Declare a route, as a decorator of its function or ASGI application.

    With several scopes, the caller's key needs one of them.
    """
    scopes = frozenset([scope] if isinstance(scope, Scope) else scope)
    declaration = Declaration(
        inspects, has_many_parts, scopes, access, is_probe, is_counted, is_page, page_policy
    )

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, declaration)
        return endpoint

    return mark


def declared_by(endpoint: object) -> Declaration:
    """Return an endpoint's declaration."""
    declaration: Declaration = getattr(endpoint, _ATTRIBUTE, UNDECLARED)
    return declaration


def put_match(scope: Mapping[str, Any], matched: Matched) -> None:
    """Store the request's route in its scope."""
    scope["state"][_MATCHED] = matched


def match_of(scope: Mapping[str, Any]) -> Matched:
    """Return the request's route and declaration."""
    matched: Matched = scope.get("state", {}).get(_MATCHED, _NO_MATCH)
    return matched


def declaration_of(scope: Mapping[str, Any]) -> Declaration:
    """Return the declaration of the request's route."""
    return match_of(scope).declaration


_NO_MATCH = Matched()
