"""Which checkpoint serves a category.

    route = registry.find("bolt")
    route.checkpoint, route.calibration.image_threshold

- A routed category is served as routed. Otherwise the newest finished version of each name, as of
  the start of the service, serves its categories. If it cannot be used, they are unavailable: no
  other version replaces it silently.
- If several names claim a category that nobody has routed, the name that claimed it first serves
  (`service.versions.claims`), and the log and the API report that it is contested.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from model.inspection import Category
from service.errors import CheckpointUnavailable, NoSuchCategory, NoSuchModel
from service.telemetry.metrics import Metrics
from service.versions.assignment import Assignment, Canary, Role
from service.versions.catalogue import Catalogue, Route, Version
from service.versions.claims import claims, undecided, unusable
from service.versions.route_metrics import publish_routes
from service.versions.state import State
from service.versions.thresholds import promise

logger = logging.getLogger("service.registry")

__all__ = ["Refusal", "Registry", "Route"]

_RETRY_AFTER_S = 60


class Refusal(NamedTuple):
    """A checkpoint in the store that cannot serve, and why."""

    checkpoint: CheckpointKey
    reason: str


@dataclass(frozen=True, slots=True)
class _Served:
    """The routes of one category, with the thresholds in force."""

    stable: Route
    canary: Route | None
    draw: Canary | None


class Registry:
    """The categories that are served, from a store's manifests, routes and thresholds."""

    def __init__(self, store: Store, metrics: Metrics, state: State | None = None) -> None:
        self._metrics = metrics
        self._root = store.root
        self._catalogue = Catalogue(store)
        self._state = state or State()
        self._reports: dict[str, dict[CheckpointKey, str]] = {}
        self._broken: dict[CheckpointKey, str] = {}
        self._default = self._assign()
        self._table: dict[Category, _Served | None] = {}
        self._refused: dict[CheckpointKey, str] = {}
        self._publish()
        for key, why in self._refused.items():
            logger.error("checkpoint %s cannot serve: %s", key, why)
        for line in self.undecided():
            logger.warning("%s", line)

    def _assign(self) -> dict[Category, Assignment]:
        """Return the assignments of categories without a route."""
        self._broken |= unusable(self.versions)
        self._claims = claims(self.versions)
        return {category: Assignment(stable=keys[0]) for category, keys in self._claims.items()}

    @property
    def contested(self) -> dict[Category, list[CheckpointKey]]:
        """Categories that several names claim and nobody has routed; the first version serves."""
        return {
            category: [assignment.stable, *others]
            for category, assignment in self.assignments.items()
            if category not in self._state.routes and (others := self.also_claimed_by(category))
        }

    def also_claimed_by(self, category: Category) -> list[CheckpointKey]:
        """Return the versions under other names that could serve a category."""
        assigned = self.assignments.get(category)
        names = {key.name for _, key in assigned.roles()} if assigned else set()
        return [key for key in self._claims.get(category, ()) if key.name not in names]

    def undecided(self) -> list[str]:
        """Return a sentence for each category or version that an operator should decide on."""
        return undecided(self.contested, self.versions)

    @property
    def checkpoints(self) -> tuple[CheckpointKey, ...]:
        """Every checkpoint that serves a category in any role, loaded or not."""
        keys = {
            key
            for category, assignment in self.assignments.items()
            for _, key in assignment.roles()
            if self.route_of(category, key, Role.STABLE)
        }
        return tuple(sorted(keys))

    @property
    def versions(self) -> list[Version]:
        """Every version in the store, by name and then oldest first."""
        return list(self._catalogue)

    @property
    def assignments(self) -> Mapping[Category, Assignment]:
        """Which versions serve each category, by route or else by default."""
        return {**self._default, **self._state.routes}

    @property
    def routes(self) -> list[Route]:
        """The stable routes of all categories that can be inspected, sorted by category."""
        ordered = (self._table[name] for name in sorted(self._table))
        stable = [served.stable for served in ordered if served]
        return [route for route in stable if route.checkpoint not in self._refused]

    @property
    def refusals(self) -> list[Refusal]:
        """The checkpoints that should serve but cannot, and why; without this machine's paths."""
        return [Refusal(key, self.without_paths(why)) for key, why in sorted(self._refused.items())]

    def find(self, category: Category, canary_key: str | None = None) -> Route:
        """Return the route of a request; a hash of `canary_key` may choose the canary.

        Raises `NoSuchCategory`, with a list of the categories, or `CheckpointUnavailable`.
        """
        if category not in self._table:
            have = ", ".join(route.category for route in self.routes)
            raise NoSuchCategory(
                f"no checkpoint serves the category {category[:100]!r}; have: {have or 'none'}"
            )
        served = self._table[category]
        if served and canary_key is not None and self._draws(served, canary_key):
            return served.canary or served.stable
        if served is None or served.stable.checkpoint in self._refused:
            raise CheckpointUnavailable(
                f"checkpoint {self.assignments[category].stable}, which serves {category!r}, "
                "cannot be loaded",
                _RETRY_AFTER_S,
            )
        return served.stable

    def answering(self, category: Category) -> list[Route]:
        """Return every route that may answer a request: the stable one, and a usable canary.

        Raises as `find`.
        """
        routes = [self.find(category)]
        served = self._table[category]
        if served and served.canary and served.canary.checkpoint not in self._refused:
            routes.append(served.canary)
        return routes

    def _draws(self, served: _Served, key: str) -> bool:
        if served.canary is None or served.draw is None:
            return False
        usable = served.canary.checkpoint not in self._refused
        return usable and served.draw.answers(served.canary.category, key)

    def version(self, name: str, version: str) -> Version:
        """Return a version. Raises `NoSuchModel`, with a list of all versions."""
        match = self._catalogue.get(CheckpointKey(name, version))
        if match is None:
            have = [str(other.key) for other in self._catalogue]
            raise NoSuchModel(
                f"no version {version[:20]!r} of a model {name[:100]!r}; "
                f"have: {', '.join(have) or 'none'}"
            )
        return match

    def roles(self, key: CheckpointKey) -> list[tuple[Category, Role]]:
        """Return the roles of a version, each with its category."""
        return [
            (category, role)
            for category, assignment in sorted(self.assignments.items())
            for role, assigned in assignment.roles()
            if assigned == key
        ]

    def rescan(self) -> list[CheckpointKey]:
        """Scan the store and return new versions, without changing any route."""
        new = self._catalogue.rescan(keep=self.checkpoints)
        self._claims = claims(self.versions)
        return new

    def read(self, key: CheckpointKey) -> Version | None:
        """Return a version as it is on disk now; None if it cannot be read."""
        return self._catalogue.read(key)

    def take_up(self, version: Version) -> None:
        """Apply a version that `read` returned, with its current calibration."""
        self._catalogue.put(version)
        self._claims = claims(self.versions)
        self._publish()

    def apply(self, state: State) -> None:
        """Serve by these routes and thresholds; requests in progress keep their route."""
        self._state = state
        self._publish()

    def accept(self, key: CheckpointKey) -> None:
        """Clear a checkpoint's refusals: every worker has loaded it."""
        for report in self._reports.values():
            report.pop(key, None)
        self._publish()

    def report(self, worker: str, refused: Mapping[CheckpointKey, str]) -> None:
        """Record the checkpoints that a worker could not load at its start, and why."""
        for key, why in refused.items():
            logger.error("worker %s cannot load checkpoint %s: %s", worker, key, why)
        self._reports[worker] = dict(refused)
        self._publish()

    def without_paths(self, text: str) -> str:
        """Replace the path of the store by `weights`."""
        for root in (self._root.resolve(), self._root):
            text = text.replace(str(root), "weights")
        return text

    def problem(self, key: CheckpointKey) -> str | None:
        """Return why a version cannot be used, without this machine's paths; None if unknown."""
        version = self._catalogue.get(key)
        reports = (report[key] for report in self._reports.values() if key in report)
        why = (version and version.problem) or next(reports, None)
        return self.without_paths(why) if why else None

    def calibration(self, category: Category, key: CheckpointKey) -> Calibration:
        """Return a version's stored calibration for one of its categories."""
        return (self.version(key.name, key.version).routes or {})[category].calibration

    def route_of(self, category: Category, key: CheckpointKey, role: Role) -> Route | None:
        """Return a version's route with the thresholds in force; None if it is not calibrated."""
        version = self._catalogue.get(key)
        base = (version.routes or {}).get(category) if version else None
        threshold = self._state.thresholds.get(category, {}).get(str(key))
        if base is None or threshold is None:
            return base and replace(base, role=role)
        return replace(
            base,
            calibration=threshold.applied_to(base.calibration),
            promise=promise(base.calibration, threshold),
            role=role,
        )

    def _publish(self) -> None:
        """Rebuild the table of routes, and replace it in one step."""
        assignments = self.assignments
        self._refused = self._refusals(assignments)
        self._table = {c: self._served(c, assigned) for c, assigned in assignments.items()}
        publish_routes(self._metrics, self.routes)
        self._expect_parts()
        self._metrics.checkpoints_refused.set(len(self._refused))

    def _expect_parts(self) -> None:
        """Start the counters of serving routes at 0; other counters keep their values."""
        for served in filter(None, self._table.values()):
            category = served.stable.category
            self._metrics.expect_category(category)
            for route in filter(None, (served.stable, served.canary)):
                self._metrics.expect_route(category, route.checkpoint, route.role)
            if served.stable.shadow:
                self._metrics.expect_shadow(category)

    def _served(self, category: Category, assigned: Assignment) -> _Served | None:
        stable = self.route_of(category, assigned.stable, Role.STABLE)
        if stable is None:
            return None
        draw, canary, shadow = assigned.canary, None, None
        if draw:
            canary = self.route_of(category, draw.checkpoint, Role.CANARY)
        if assigned.shadow and assigned.shadow not in self._refused:
            shadow = self.route_of(category, assigned.shadow, Role.SHADOW)
        return _Served(
            replace(stable, shadow=shadow), canary and replace(canary, shadow=shadow), draw
        )

    def _refusals(self, assignments: Mapping[Category, Assignment]) -> dict[CheckpointKey, str]:
        """Return checkpoints that should serve but are damaged, gone, or refused by a worker."""
        routed = {assigned.stable.name for assigned in self._state.routes.values()}
        refused = {key: why for key, why in self._broken.items() if key.name not in routed}
        for category, assigned in assignments.items():
            for role, key in assigned.roles():
                if self.route_of(category, key, role) is None:
                    gone = f"it is routed as {role} of {category!r}, but is not in the store"
                    refused[key] = self.problem(key) or gone
                for report in self._reports.values():
                    if key in report:
                        refused[key] = report[key]
        return refused
