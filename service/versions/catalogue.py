"""Every version in the checkpoint store, serving or not; reads manifests, no weights."""

import hashlib
import json
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

    `calibration` has the thresholds in force, and `promise` explains them. `shadow` scores the same
    images without answering. `sha256` identifies the checkpoint; see `fingerprint`.
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
    sha256: str | None = None

    @property
    def image_size(self) -> ImageSize:
        """The size of the network's input."""
        height, width = self.preprocessing.image_size
        return ImageSize(height, width)


@dataclass(frozen=True, slots=True)
class Version:
    """One version in the store.

    `problem` says why it cannot serve, `unfinished` how far an interrupted training came.
    """

    key: CheckpointKey
    created: str = ""
    routes: Mapping[Category, Route] | None = None
    golden_images: int = 0
    problem: str | None = None
    unfinished: str | None = None

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories that it is calibrated for, sorted."""
        return tuple(sorted(self.routes or {}))


class Catalogue:
    """The versions in a store, each as it was when first read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions: dict[CheckpointKey, Version] = {}
        self._changing = threading.Lock()  # `rescan` runs in threads
        self.rescan()

    def __iter__(self) -> Iterator[Version]:
        """Yield every version, by name and then oldest first."""
        return iter(sorted(self._versions.values(), key=_place))

    def get(self, key: CheckpointKey) -> Version | None:
        """Return a version of the latest scan; None if it has none."""
        return self._versions.get(key)

    def rescan(self, keep: Iterable[CheckpointKey] = ()) -> list[CheckpointKey]:
        """Scan the store for new and removed versions; return the new ones.

        Usable versions stay as first read: a changed file must not change the running service.
        Versions in `keep` stay even if they are gone.
        """
        manifests = {
            CheckpointKey(*path.split("/")): manifest
            for path, manifest in self._store.entries().items()
        }
        scanned = {key: _version(key, manifest) for key, manifest in manifests.items()}
        with self._changing:
            unchanged = {
                key: version
                for key, version in self._versions.items()
                if key in keep or (key in scanned and version.problem is None)
            }
            new = [key for key in scanned if key not in self._versions]
            self._versions = scanned | unchanged
        return sorted(new)

    def read(self, key: CheckpointKey) -> Version | None:
        """Return a version as it is on disk now; None if it is gone or damaged."""
        try:
            return _version(key, Manifest.read(self._store.find(key.name, key.version)))
        except CheckpointError:
            return None

    def put(self, version: Version) -> None:
        """Replace a version by one that `read` returned."""
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
        why = f"its manifest is inconsistent: {str(error)[:1000]}"
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
        sha256=fingerprint(manifest),
    )


def fingerprint(manifest: Manifest) -> str:
    """Return a SHA-256 of what a checkpoint computes by: its files, preprocessing and scoring.

    Thresholds are left out: they may change, and belong to a category.
    """
    members = {"network", "preprocessing", "scoring", "areas", "sha256"}
    content = manifest.model_dump(mode="json", include=members)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
