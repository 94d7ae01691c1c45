"""The checkpoint store, read without torch: every part of a version except the network.

    <root>/encoders/<encoder>-<sha8>.safetensors     frozen, shared, named by its content's sha256
    <root>/<name>/<version>/manifest.json            description for people and the service
    <root>/<name>/<version>/network.safetensors      trained weights, float32
    <root>/<name>/<version>/baselines.safetensors    the categories' usual maps, memories
    <root>/<name>/<version>/golden.safetensors       a few good images, to verify devices
    <root>/<name>/<version>/model.onnx               the same network for onnxruntime
    <root>/<name>/<version>/images-<sha8>.json       digests of images it has seen; not for serving
    <root>/<name>/<version>/report.html              its evaluation, for people; not for serving

Versions are "1", "2", ...; a folder with such a name is complete. Weights are safetensors, never
pickles, and all files are verified by hash before they are parsed.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.bounded import read_regular
from model.calibration.calibration import Calibration
from model.checkpoints import golden as golden_images
from model.checkpoints.bounds import check_inside
from model.checkpoints.files import parse_weights, read_verified, sha256
from model.checkpoints.golden import Golden
from model.checkpoints.headers import Check, read_checked
from model.checkpoints.implied import of_baselines, of_golden
from model.checkpoints.manifest import (
    BASELINES_FILE,
    ENCODERS,
    GOLDEN_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    Manifest,
    check_name,
    versions_in,
)
from model.durable import write_durably
from model.errors import CheckpointError, ModelError
from model.images.preprocess import Preprocessing
from model.scoring.baselines import AnyBaseline, from_arrays
from model.scoring.scores import Scoring

REPORT_FILE = "report.html"

_MOST_ONNX_BYTES = 2**31
"""The limit of protobuf, the format of ONNX files."""

_MOST_REPORT_BYTES = 2**26
"""A report of 15 categories has about 8 MB."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StoredVersion:
    """A version in memory without its network."""

    manifest: Manifest
    baselines: Mapping[str, AnyBaseline] = field(default_factory=dict)
    golden: Golden = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> "StoredVersion":
        """Read `<root>/<name>/<version>` and verify every hash; raises `CheckpointError`."""
        directory = directory.resolve()
        manifest = Manifest.read(directory)
        try:
            scoring = Scoring.from_dict(manifest.scoring)
            size = Preprocessing.from_dict(manifest.preprocessing).image_size
        except (ModelError, TypeError, ValueError, KeyError) as error:
            raise does_not_fit(directory, error) from error
        baselines = _read(directory, manifest, BASELINES_FILE, of_baselines(scoring, size))
        images = _read(directory, manifest, GOLDEN_FILE, of_golden(manifest.golden, size))
        try:
            golden = golden_images.from_arrays(images, manifest.model_dump()["golden"])
            version = StoredVersion(
                manifest=manifest,
                baselines=from_arrays(baselines, scoring, size),
                golden=golden,
            )
            version._read_everything()
        except (ModelError, TypeError, ValueError, KeyError) as error:
            raise does_not_fit(directory, error) from error
        return version

    @property
    def name(self) -> str:
        """The checkpoint's name in its store."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version: "1", "2", ..."""
        return self.manifest.version

    @property
    def preprocessing(self) -> Preprocessing:
        """The conversion from image to tensor, as in training."""
        return Preprocessing.from_dict(self.manifest.preprocessing)

    @property
    def scoring(self) -> Scoring:
        """The conversion from anomaly map to raw score, as in calibration."""
        return Scoring.from_dict(self.manifest.scoring)

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """The thresholds of each category."""
        return {k: Calibration.from_dict(v) for k, v in self.manifest.calibrations.items()}

    def _read_everything(self) -> None:
        """Parse all of the manifest, to raise faults at load and not at the first part."""
        _, calibrated = self.preprocessing, self.calibrations.keys()
        if self.scoring.uses_baselines and (missing := calibrated - self.baselines.keys()):
            raise CheckpointError(f"no baseline for {', '.join(sorted(missing))}")


def _read(
    directory: Path, manifest: Manifest, file: str, check: Callable[[Path], Check]
) -> dict[str, np.ndarray]:
    """Read an optional file of arrays; empty if the version has none."""
    if file not in manifest.sha256:
        return {}
    path = directory / file
    root = directory.parent.parent
    return parse_weights(path, read_checked(path, manifest.sha256[file], check(path), root))


class Store:
    """A folder of checkpoints by name and version."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def manifests(self) -> list[Manifest]:
        """Return every readable manifest, by name and then newest first; loads no weights."""
        return [entry for entry in self.entries().values() if isinstance(entry, Manifest)]

    def problems(self) -> dict[str, str]:
        """Return the error of each "name/version" with an unreadable manifest."""
        entries = self.entries()
        return {place: str(e) for place, e in entries.items() if isinstance(e, CheckpointError)}

    def find(self, name: str, version: str | None = None) -> Path:
        """Return the folder of a checkpoint, by default of its newest finished version.

        If no version is finished, it is the newest. Raises `CheckpointError` for an unknown name or
        version.
        """
        check_name(name)
        have = versions_in(self.root / name)
        if not have:
            names = ", ".join(sorted({p.parent.name for p in self._folders()}))
            raise CheckpointError(f"no checkpoint {name!r} in {self.root}; have: {names or 'none'}")
        if version is None:
            return self._newest(self.root / name, have)
        if version not in have:
            raise CheckpointError(
                f"no version {version!r} of checkpoint {name!r} in {self.root}; "
                f"have: {', '.join(have)}"
            )
        return self.root / name / version

    def _newest(self, folder: Path, versions: Sequence[str]) -> Path:
        """Return the folder of the newest version that is finished or unreadable."""
        skipped: list[str] = []
        for version in versions:
            try:
                unfinished = Manifest.read(folder / version).unfinished
            except CheckpointError:
                unfinished = None  # opening it will raise this error
            if unfinished is None:
                if skipped:
                    logger.warning(
                        "%s: using version %s; skipped unfinished versions: %s",
                        folder.name, version, ", ".join(skipped),
                    )  # fmt: skip
                return folder / version
            skipped.append(f"{version} ({unfinished})")
        logger.warning("%s: no version is finished: %s", folder.name, ", ".join(skipped))
        return folder / versions[0]

    def entries(self) -> dict[str, Manifest | CheckpointError]:
        """Return the manifest of every "name/version", or the error of reading it."""
        entries: dict[str, Manifest | CheckpointError] = {}
        for directory in self._folders():
            # A folder's name may have any bytes, but JSON answers need valid Unicode.
            name = directory.parent.name.encode("unicode_escape").decode()
            try:
                check_name(directory.parent.name)
                entries[f"{name}/{directory.name}"] = Manifest.read(directory)
            except CheckpointError as error:
                entries[f"{name}/{directory.name}"] = error
        return entries

    def _folders(self) -> Iterator[Path]:
        """Yield every version's folder, by name and then newest first."""
        try:
            parents = sorted(self.root.iterdir())
        except OSError:  # no folder, or no permission
            return
        for parent in parents:
            if parent.name != ENCODERS:
                yield from (parent / version for version in versions_in(parent))


def attach_onnx(directory: Path, data: bytes) -> Manifest:
    """Add an ONNX file to a version and its hash to the manifest; return the manifest.

    Raises `CheckpointError` for a folder without a version, or a failed write.
    """
    manifest = Manifest.read(directory)
    values = manifest.model_dump()
    values["sha256"] |= {ONNX_FILE: sha256(data)}
    changed = Manifest.from_values(values)
    try:
        write_durably(directory / ONNX_FILE, data)
        write_durably(directory / MANIFEST_FILE, changed.to_json().encode())
    except OSError as error:
        raise CheckpointError(f"cannot write to {directory}: {error}") from error
    return changed


def read_onnx(directory: Path, manifest: Manifest) -> bytes:
    """Return the content of a version's ONNX file after verifying its hash.

    Raises `CheckpointError` for a missing or altered file.
    """
    if not manifest.has_onnx:
        raise CheckpointError(
            f"{manifest.name}/{manifest.version} has no {ONNX_FILE} for onnxruntime: make one with "
            f"`mambaad export {manifest.name} --version {manifest.version} --serve`"
        )
    path = directory / ONNX_FILE
    check_inside(path, directory.parent.parent)
    return read_verified(path, manifest.sha256[ONNX_FILE], _MOST_ONNX_BYTES)


def attach_report(directory: Path, report: Path) -> None:
    """Copy a report into a version's folder; it replaces an older one.

    Raises `CheckpointError` for a report that is too large, or a failed write.
    """
    try:
        data, _ = read_regular(report, _MOST_REPORT_BYTES)
        write_durably(directory / REPORT_FILE, data)
    except OSError as error:
        raise CheckpointError(f"cannot store {report} in {directory}: {error}") from error


def read_report(directory: Path) -> bytes | None:
    """Return a version's report; None if it has none.

    Raises `CheckpointError` for a link out of the store, or a file that cannot be read.
    """
    path = directory / REPORT_FILE
    check_inside(path, directory.parent.parent)
    try:
        return read_regular(path, _MOST_REPORT_BYTES)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def does_not_fit(directory: Path, error: Exception) -> CheckpointError:
    """Return the error for a version whose parts contradict each other."""
    return CheckpointError(
        f"the manifest and the weights in {directory} do not fit together; save or import the "
        f"checkpoint again: {str(error)[:1000]}"
    )
