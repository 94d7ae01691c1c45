"""What serves each category, and the versions in the store, as the pages show them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.api.service import Service
from service.versions.assignment import Assignment, Role
from service.versions.catalogue import Version
from service.versions.lifecycle import ModelState
from service.versions.state import AuditRecord

TRANSIENT = frozenset({ModelState.LOADING, ModelState.DRAINING})
_OPEN_VERSIONS = 12


@dataclass(frozen=True, slots=True)
class ServedCategory:
    """A category, and what serves it; without an assignment no version does.

    `threshold` and `review_threshold` are those in force of the stable version, `is_set` whether a
    person set them. `change` is the latest of the route; None: nobody has routed the category.
    """

    category: Category
    assignment: Assignment | None
    problem: str | None
    threshold: float | None
    review_threshold: float | None
    is_set: bool
    change: AuditRecord | None
    contested: Sequence[CheckpointKey]
    is_routed: bool


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version in the list of its name."""

    version: Version
    state: ModelState
    problem: str | None
    roles: Sequence[tuple[Category, Role]]

    @property
    def created(self) -> datetime | None:
        """When it was saved; None if the manifest does not say."""
        return moment_in(self.version.created)


@dataclass(frozen=True, slots=True)
class NameGroup:
    """The versions of a name, newest first."""

    name: str
    versions: Sequence[ListedVersion]
    is_open: bool

    @property
    def serving(self) -> int:
        """The number of versions that serve a category."""
        return sum(bool(one.roles) for one in self.versions)

    @property
    def broken(self) -> int:
        """The number of versions that cannot be used."""
        return sum(one.problem is not None for one in self.versions)


def served_category(service: Service, category: Category) -> ServedCategory:
    """Return what serves a category."""
    registry, rollout = service.registry, service.rollout
    assignment = registry.assignments.get(category)
    change = next(iter(rollout.history(category, "route")), None)
    route = None
    if assignment is not None:
        route = registry.route_of(category, assignment.stable, Role.STABLE)
    return ServedCategory(
        category=category,
        assignment=assignment,
        problem=_problem(service, assignment),
        threshold=route.calibration.image_threshold if route else None,
        review_threshold=route.calibration.review_threshold if route else None,
        is_set=bool(assignment and rollout.override(category, assignment.stable)),
        change=change,
        contested=registry.contested.get(category, ()),
        is_routed=change is not None,
    )


def served_categories(service: Service) -> list[ServedCategory]:
    """Return all categories that serve, or that some version could serve, by name."""
    of_versions = {name for version in service.registry.versions for name in version.categories}
    names = sorted(of_versions | set(service.registry.assignments))
    return [served_category(service, category) for category in names]


def candidates(service: Service, category: Category) -> list[Version]:
    """Return the versions that a category can be routed to, by name and then newest first."""
    usable = [version for version in service.registry.versions if category in version.categories]
    return sorted(usable, key=lambda one: (one.key.name, -int(one.key.version)))


def groups(service: Service) -> list[NameGroup]:
    """Return every version of the store, by name; few versions are shown open."""
    by_name: dict[str, list[ListedVersion]] = {}
    roles = _roles(service)
    for version in service.registry.versions:
        listed = ListedVersion(
            version,
            service.lifecycle.state(version.key),
            service.lifecycle.problem(version.key),
            roles.get(version.key, ()),
        )
        by_name.setdefault(version.key.name, []).insert(0, listed)
    is_open = sum(map(len, by_name.values())) <= _OPEN_VERSIONS
    return [NameGroup(name, versions, is_open) for name, versions in by_name.items()]


def moment_in(text: str) -> datetime | None:
    """Return the time that a manifest names; None if it is none with a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _roles(service: Service) -> dict[CheckpointKey, list[tuple[Category, Role]]]:
    roles: dict[CheckpointKey, list[tuple[Category, Role]]] = {}
    for category, assignment in sorted(service.registry.assignments.items()):
        for role, key in assignment.roles():
            roles.setdefault(key, []).append((category, role))
    return roles


def _problem(service: Service, assignment: Assignment | None) -> str | None:
    """Return why a version of a route cannot do its part; the stable one's reason first."""
    if assignment is None:
        return None
    return next(_reasons(service, assignment), None)


def _reasons(service: Service, assignment: Assignment) -> Iterator[str]:
    refused = {refusal.checkpoint: refusal.reason for refusal in service.registry.refusals}
    for _, key in assignment.roles():
        if key in refused:
            yield f"{key}: {refused[key]}"
