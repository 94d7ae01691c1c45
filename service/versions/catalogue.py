"""What lies in the checkpoint store: every version, serving or not. No weights are read."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.checkpoints.manifest import Manifest
from model.checkpoints.store import Store
from model.errors import CheckpointError, ModelError
from model.images.preprocess import Preprocessing
from model.inspection import Category, ImageSize
from model.scoring.scores import Scoring
from service.versions.assignment import Role


@dataclass(frozen=True, slots=True)
class Route:
    """A category and the checkpoint that serves it.

    `calibration` holds the thresholds in force, `promise` says what they promise. `shadow`, where
    there is one, is to score the same images, and not to answer.
    """

    category: Category
    checkpoint: CheckpointKey
    preprocessing: Preprocessing
    calibration: Calibration
    license: str | None
    notice: str | None
    promise: str = ""
    role: Role = Role.STABLE
    shadow: "Route | None" = None

    @property
    def image_size(self) -> ImageSize:
        """The size of the network's input."""
        height, width = self.preprocessing.image_size
        return ImageSize(height, width)


@dataclass(frozen=True, slots=True)
class Version:
    """One version in the store; `problem` says why it cannot serve, where it cannot.

    `unfinished` says how far its training came where that was interrupted.
    """

    key: CheckpointKey
    created: str = ""
    routes: Mapping[Category, Route] | None = None
    golden_images: int = 0
    problem: str | None = None
    unfinished: str | None = None

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories that it is calibrated for, in order of name."""
        return tuple(sorted(self.routes or {}))


class Catalogue:
    """The versions that were found in a store, as they were when they were found."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions: dict[CheckpointKey, Version] = {}
        self._changing = threading.Lock()  # the store is read in other threads than the service's
        self.rescan()

    def __iter__(self) -> Iterator[Version]:
        """Yield every version, by name and then oldest first."""
        return iter(sorted(self._versions.values(), key=_place))

    def get(self, key: CheckpointKey) -> Version | None:
        """Return a version, looked up among those found."""
        return self._versions.get(key)

    def rescan(self, keep: Iterable[CheckpointKey] = ()) -> list[CheckpointKey]:
        """Look for versions that have come or gone; return the new ones.

        Those known stay as they were found, unless they could not be used then: what serves must
        not change because a file did. Those in `keep` stay though they have gone.
        """
        found = {CheckpointKey(*p.split("/")): entry for p, entry in self._store.entries().items()}
        read = {key: _version(key, entry) for key, entry in found.items()}
        with self._changing:
            known = {
                key: version
                for key, version in self._versions.items()
                if key in keep or (key in read and version.problem is None)
            }
            new = [key for key in read if key not in self._versions]
            self._versions = read | known
        return sorted(new)

    def read(self, key: CheckpointKey) -> Version | None:
        """Return a version as it is now; None where it is gone or damaged meanwhile."""
        try:
            return _version(key, Manifest.read(self._store.find(key.name, key.version)))
        except CheckpointError:
            return None

    def put(self, version: Version) -> None:
        """Keep a version as it was read."""
        with self._changing:
            self._versions = {**self._versions, version.key: version}


def _place(version: Version) -> tuple[str, int]:
    return version.key.name, int(version.key.version)


def _version(key: CheckpointKey, manifest: Manifest | CheckpointError) -> Version:
    if isinstance(manifest, CheckpointError):
        return Version(key, problem=str(manifest))
    golden_images = sum(len(entry.raw_scores) for entry in manifest.golden.values())
    try:
        Scoring.from_dict(manifest.scoring)
        Preprocessing.from_dict(manifest.preprocessing)
        routes = {category: _route(manifest, key, category) for category in manifest.categories}
    except (
        ModelError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        why = f"its manifest does not fit together: {str(error)[:1000]}"
        return Version(key, manifest.created, None, golden_images, why)
    return Version(key, manifest.created, routes, golden_images, unfinished=manifest.unfinished)


def _route(manifest: Manifest, key: CheckpointKey, category: Category) -> Route:
    calibration = Calibration.from_dict(manifest.calibrations[category])
    return Route(
        category,
        key,
        Preprocessing.from_dict(manifest.preprocessing),
        calibration,
        manifest.license,
        manifest.notice,
        calibration.promise(),
    )
