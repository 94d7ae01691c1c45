"""What a route is: whether it inspects, who may ask, whether it is a probe.

It is said once, where the route is defined:

    @router.post("/detect")
    @declares(inspects=True, scope=Scope.DETECT)
    async def detect(request: Request) -> Response: ...

`matching` finds a request's route before anything else looks at the request; the log, the gate and
whatever answers an error read the declaration off the request's scope, by `declaration_of`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Protocol, TypeVar

_ATTRIBUTE = "__declaration__"
_MATCHED = "matched"

Endpoint = TypeVar("Endpoint")


class Scope(StrEnum):
    """What a key may be used for; neither holds the other."""

    DETECT = "detect"
    ADMIN = "admin"


class Access(Enum):
    """Who is let in before it is known who asks."""

    KEYED = "nobody"
    OPEN = "anybody"
    OPEN_FOR_METRICS = "anybody, unless the settings ask for a key here too"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a route is; one that says nothing takes a key of any scope and inspects nothing."""

    inspects: bool = False
    """Whatever refuses the request says UNDECIDED and the fail-safe."""

    scope: Scope | None = None
    """What a caller's key has to be good for; None: any key."""

    access: Access = Access.KEYED
    is_probe: bool = False
    """Asked every few seconds by a machine: logged at DEBUG, and no refusal of ours."""

    page_policy: str | None = None
    """The Content-Security-Policy of a page for browsers; None forbids a browser everything."""


UNDECLARED = Declaration()


class Route(Protocol):
    """A route as far as the log tells of it."""

    path: str


@dataclass(frozen=True, slots=True)
class Matched:
    """The route that a request is for, where there is one, and what it declares."""

    declaration: Declaration = UNDECLARED
    route: Route | None = None


def declares(
    *,
    inspects: bool = False,
    scope: Scope | None = None,
    access: Access = Access.KEYED,
    is_probe: bool = False,
    page_policy: str | None = None,
) -> Callable[[Endpoint], Endpoint]:
    """Say what a route is, on the function, or the ASGI application, that answers it."""
    declaration = Declaration(inspects, scope, access, is_probe, page_policy)

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, declaration)
        return endpoint

    return mark


def declared_by(endpoint: object) -> Declaration:
    """Return what was said of an endpoint."""
    declaration: Declaration = getattr(endpoint, _ATTRIBUTE, UNDECLARED)
    return declaration


def put_match(scope: Mapping[str, Any], matched: Matched) -> None:
    """Let all that stands around the request read what its route is."""
    scope["state"][_MATCHED] = matched


def match_of(scope: Mapping[str, Any]) -> Matched:
    """Return the route that the request was found to be for."""
    matched: Matched = scope.get("state", {}).get(_MATCHED, _NO_MATCH)
    return matched


def declaration_of(scope: Mapping[str, Any]) -> Declaration:
    """Return what the request's route declares."""
    return match_of(scope).declaration


_NO_MATCH = Matched()
