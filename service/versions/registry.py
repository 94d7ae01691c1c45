"""Which checkpoint serves a category.

- What an operator has routed serves as routed. Else, of each name, the version that is the newest
  finished one when the service starts serves, and no other: where that one cannot be used, its
  categories are unavailable, and say so. No older version steps in unnoticed, and no newer one.
- A category that several names claim, and that nobody has routed, stays with the name that claimed
  it first (`service.versions.claims`); the log, the console and the API say that it is contested.
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
    """A checkpoint in the store that cannot be served, and why."""

    checkpoint: CheckpointKey
    reason: str


@dataclass(frozen=True, slots=True)
class _Served:
    """The routes of one category, with the thresholds in force."""

    stable: Route
    canary: Route | None
    draw: Canary | None


class Registry:
    """The categories that are served, found in a store without loading any weights."""

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
        """Return what serves where nothing was routed."""
        self._broken |= unusable(self.versions)
        self._claims = claims(self.versions)
        return {category: Assignment(stable=keys[0]) for category, keys in self._claims.items()}

    @property
    def contested(self) -> dict[Category, list[CheckpointKey]]:
        """Categories that several names claim and nobody has routed; what serves comes first."""
        served = {category: one.stable for category, one in self.assignments.items()}
        return {
            category: [served[category], *others]
            for category in served
            if category not in self._state.routes and (others := self.also_claimed_by(category))
        }

    def also_claimed_by(self, category: Category) -> list[CheckpointKey]:
        """Return the versions under other names that could serve a category, and do not."""
        assigned = self.assignments.get(category)
        names = {key.name for _, key in assigned.roles()} if assigned else set()
        return [key for key in self._claims.get(category, ()) if key.name not in names]

    def undecided(self) -> list[str]:
        """Say what serves, and what does not, though nobody decided so: for log and console."""
        return undecided(self.contested, self.versions)

    @property
    def checkpoints(self) -> tuple[CheckpointKey, ...]:
        """Every checkpoint that serves a category in any role, whether it loaded or not."""
        found = {
            key
            for category, assignment in self.assignments.items()
            for _, key in assignment.roles()
            if self.route_of(category, key, Role.STABLE)
        }
        return tuple(sorted(found))

    @property
    def versions(self) -> list[Version]:
        """Every version in the store, by name and then oldest first."""
        return list(self._catalogue)

    @property
    def assignments(self) -> Mapping[Category, Assignment]:
        """Which versions serve each category, as routed or else by default."""
        return {**self._default, **self._state.routes}

    @property
    def routes(self) -> list[Route]:
        """The categories that can be inspected, in order of name; each with its stable route."""
        served = (self._table[name] for name in sorted(self._table))
        stable = [one.stable for one in served if one]
        return [route for route in stable if route.checkpoint not in self._refused]

    @property
    def refusals(self) -> list[Refusal]:
        """The checkpoints that should serve and cannot, each with why; no paths of this machine."""
        return [Refusal(key, self.without_paths(why)) for key, why in sorted(self._refused.items())]

    def find(self, category: Category, canary_key: str | None = None) -> Route:
        """Return the route of a request; `canary_key`, stable over retries, draws the canary.

        Raises `NoSuchCategory`, listing those there are, or `CheckpointUnavailable`.
        """
        if category not in self._table:
            have = ", ".join(found.category for found in self.routes)
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
        """Return every route that may answer a request now: stable, and canary if there is one.

        Raises what `find` does.
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
        """Look a version up; raises `NoSuchModel`, listing those there are."""
        found = self._catalogue.get(CheckpointKey(name, version))
        if found is None:
            have = [str(known.key) for known in self._catalogue]
            raise NoSuchModel(
                f"no version {version[:20]!r} of a model {name[:100]!r}; "
                f"have: {', '.join(have) or 'none'}"
            )
        return found

    def roles(self, key: CheckpointKey) -> list[tuple[Category, Role]]:
        """Return what a version does, for which category."""
        return [
            (category, role)
            for category, assignment in sorted(self.assignments.items())
            for role, own in assignment.roles()
            if own == key
        ]

    def rescan(self) -> list[CheckpointKey]:
        """Look for versions that have come into the store, or gone; nothing serves otherwise."""
        new = self._catalogue.rescan(keep=self.checkpoints)
        self._claims = claims(self.versions)
        return new

    def read(self, key: CheckpointKey) -> Version | None:
        """Return a version as it is in the store now; None where it cannot be read."""
        return self._catalogue.read(key)

    def take_up(self, version: Version) -> None:
        """Take a version as it was read, with what was calibrated since it was found."""
        self._catalogue.put(version)
        self._claims = claims(self.versions)
        self._publish()

    def apply(self, state: State) -> None:
        """Serve by these routes and thresholds from now on; a route found before stays."""
        self._state = state
        self._publish()

    def accept(self, key: CheckpointKey) -> None:
        """Take note that every worker has loaded a checkpoint."""
        for report in self._reports.values():
            report.pop(key, None)
        self._publish()

    def report(self, worker: str, refused: Mapping[CheckpointKey, str]) -> None:
        """Take note of the checkpoints that a worker could not load when it started."""
        for key, why in refused.items():
            logger.error("worker %s cannot load checkpoint %s: %s", worker, key, why)
        self._reports[worker] = dict(refused)
        self._publish()

    def without_paths(self, text: str) -> str:
        """Name the store without saying where on this machine it lies."""
        for root in (self._root.resolve(), self._root):
            text = text.replace(str(root), "weights")
        return text

    def problem(self, key: CheckpointKey) -> str | None:
        """Say why a version cannot be used, as far as is known; no paths of this machine."""
        version = self._catalogue.get(key)
        reports = (report[key] for report in self._reports.values() if key in report)
        why = (version and version.problem) or next(reports, None)
        return self.without_paths(why) if why else None

    def calibration(self, category: Category, key: CheckpointKey) -> Calibration:
        """Return a version's own calibration for a category that it claims."""
        return (self.version(key.name, key.version).routes or {})[category].calibration

    def route_of(self, category: Category, key: CheckpointKey, role: Role) -> Route | None:
        """Return a version's route, by the thresholds in force; None where it claims none."""
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
        """Work out what serves, and put it in place of what did."""
        assignments = self.assignments
        self._refused = self._refusals(assignments)
        self._table = {c: self._served(c, assigned) for c, assigned in assignments.items()}
        publish_routes(self._metrics, self.routes)
        self._expect_parts()
        self._metrics.checkpoints_refused.set(len(self._refused))

    def _expect_parts(self) -> None:
        """Have parts counted from 0 on; what serves no more keeps the counts that it has."""
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
        """Return what should serve and cannot: damaged, gone, or refused by a worker."""
        routed = {assigned.stable.name for assigned in self._state.routes.values()}
        refused = {key: why for key, why in self._broken.items() if key.name not in routed}
        for category, assigned in assignments.items():
            for role, key in assigned.roles():
                if self.route_of(category, key, role) is None:
                    gone = f"should be the {role} version of {category!r}, and is not in the store"
                    refused[key] = self.problem(key) or gone
                for report in self._reports.values():
                    if key in report:
                        refused[key] = report[key]
        return refused
