"""Which checkpoint serves a category.

- Of each name the newest version serves, and no other: where the newest cannot be used, its
  categories are unavailable, and say so. An older version never steps in unnoticed.
- A category that several names claim is served by the one created last (of the same second, the
  last by name); the others are logged.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from model.calibration import Calibration
from model.checkpoint import CheckpointStore
from model.errors import ModelError
from model.inspection import Category, ImageSize
from model.manifest import Manifest
from model.preprocess import Preprocessing
from service.channel import CheckpointKey
from service.errors import CheckpointUnavailable, NoSuchCategory
from service.metrics import Metrics

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 60


@dataclass(frozen=True, slots=True)
class Route:
    """A category and the checkpoint that serves it."""

    category: Category
    checkpoint: CheckpointKey
    preprocessing: Preprocessing
    calibration: Calibration
    license: str | None
    notice: str | None

    @property
    def image_size(self) -> ImageSize:
        """The size of the network's input."""
        height, width = self.preprocessing.image_size
        return ImageSize(height, width)


class Refusal(NamedTuple):
    """A checkpoint in the store that cannot be served, and why."""

    checkpoint: CheckpointKey
    reason: str


class Registry:
    """The categories that are served, found in a store without loading any weights."""

    def __init__(self, store: CheckpointStore, metrics: Metrics) -> None:
        self._metrics = metrics
        self._root = store.root
        problems = {
            CheckpointKey(*place.split("/")): why for place, why in store.problems().items()
        }
        newest = _newest(store.manifests(), problems)
        self._unusable = {key: problems[key] for key in problems if key in newest}
        self._routes: dict[Category, Route] = {}
        self._reports: dict[str, dict[CheckpointKey, str]] = {}
        manifests = [m for m in newest.values() if m is not None]
        for manifest in sorted(manifests, key=lambda m: (m.created, m.name)):
            self._add(manifest)
        self._publish()

    def _add(self, manifest: Manifest) -> None:
        key = CheckpointKey(manifest.name, manifest.version)
        try:
            routes = [_route(manifest, key, category) for category in manifest.categories]
        except (ModelError, ValueError, TypeError, KeyError) as error:
            self._unusable[key] = f"its manifest does not fit together: {error}"
            return
        for route in routes:
            other = self._routes.get(route.category)
            if other:
                logger.warning(
                    "category %s is claimed by %s and %s: the one created last serves it, %s",
                    route.category, other.checkpoint, key, key,
                )  # fmt: skip
            self._routes[route.category] = route

    @property
    def checkpoints(self) -> tuple[CheckpointKey, ...]:
        """Every checkpoint that serves a category, whether it loaded or not."""
        return tuple(sorted({route.checkpoint for route in self._routes.values()}))

    @property
    def routes(self) -> list[Route]:
        """The categories that can be inspected, in order of name."""
        refused = {refusal.checkpoint for refusal in self.refusals}
        routes = (self._routes[name] for name in sorted(self._routes))
        return [route for route in routes if route.checkpoint not in refused]

    @property
    def refusals(self) -> list[Refusal]:
        """The checkpoints that should serve and cannot, each with why; no paths of this machine."""
        refused = dict(self._unusable)
        for report in self._reports.values():
            refused.update(report)
        return [Refusal(key, self._without_paths(why)) for key, why in sorted(refused.items())]

    def find(self, category: Category) -> Route:
        """Return the category's route.

        Raises `NoSuchCategory`, listing those there are, or `CheckpointUnavailable`.
        """
        route = self._routes.get(category)
        if route is None:
            have = ", ".join(found.category for found in self.routes)
            raise NoSuchCategory(
                f"no checkpoint serves the category {category[:100]!r}; have: {have or 'none'}"
            )
        if any(route.checkpoint == refusal.checkpoint for refusal in self.refusals):
            raise CheckpointUnavailable(
                f"checkpoint {route.checkpoint}, which serves {category!r}, cannot be loaded",
                _RETRY_AFTER_S,
            )
        return route

    def report(self, worker: str, refused: Mapping[CheckpointKey, str]) -> None:
        """Take note of the checkpoints that a worker could not load when it started."""
        for key, why in refused.items():
            logger.error("worker %s cannot load checkpoint %s: %s", worker, key, why)
        self._reports[worker] = dict(refused)
        self._publish()

    def _without_paths(self, text: str) -> str:
        """Name the store without saying where on this machine it lies."""
        for root in (self._root.resolve(), self._root):
            text = text.replace(str(root), "weights")
        return text

    def _publish(self) -> None:
        self._metrics.category_info.clear()
        for route in self.routes:
            labels = (route.category, route.checkpoint.name, route.checkpoint.version)
            self._metrics.category_info.labels(*labels).set(1)
        self._metrics.checkpoints_refused.set(len(self.refusals))


def _newest(
    manifests: Iterable[Manifest], problems: Iterable[CheckpointKey]
) -> dict[CheckpointKey, Manifest | None]:
    """Return the newest version of each name; None for one that cannot be read."""
    entries: dict[CheckpointKey, Manifest | None] = dict.fromkeys(problems)
    entries |= {CheckpointKey(m.name, m.version): m for m in manifests}
    ordered = sorted(entries, key=lambda key: (key.name, int(key.version)))
    newest = [list(keys)[-1] for _, keys in groupby(ordered, key=lambda key: key.name)]
    return {key: entries[key] for key in newest}


def _route(manifest: Manifest, key: CheckpointKey, category: Category) -> Route:
    return Route(
        category,
        key,
        Preprocessing.from_dict(manifest.preprocessing),
        Calibration.from_dict(manifest.calibrations[category]),
        manifest.license,
        manifest.notice,
    )
