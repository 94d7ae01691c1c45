"""The checkpoint store as anyone can read it: every part of a version but the network itself.

    <root>/encoders/<encoder>-<sha8>.safetensors     frozen, shared, named by its content's sha256
    <root>/<name>/<version>/manifest.json            everything a human or the service asks about
    <root>/<name>/<version>/network.safetensors      only what was trained, float32
    <root>/<name>/<version>/baselines.safetensors    the categories' usual maps, where used
    <root>/<name>/<version>/golden.safetensors       a few good images, to compare devices by
    <root>/<name>/<version>/model.onnx               the network once more, for onnxruntime
    <root>/<name>/<version>/images-<sha8>.json       which images it has seen; serving needs it not

Versions are "1", "2", ...; a folder that stands under such a name is complete. Weights are
safetensors, never pickles, and all files are hashed before they are parsed.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

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

_MOST_ONNX_BYTES = 2**31
"""protobuf, which ONNX files are written in, holds no more."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StoredVersion:
    """A version in memory but for its network: what is needed around whatever computes it."""

    manifest: Manifest
    baselines: Mapping[str, AnyBaseline] = field(default_factory=dict)
    golden: Golden = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> "StoredVersion":
        """Read `<root>/<name>/<version>`, every hash verified; raises `CheckpointError`."""
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
            known = from_arrays(baselines, scoring, size)
            version = StoredVersion(manifest=manifest, baselines=known, golden=golden)
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
        """The version under that name: "1", "2", ..."""
        return self.manifest.version

    @property
    def preprocessing(self) -> Preprocessing:
        """From image to tensor, exactly as trained."""
        return Preprocessing.from_dict(self.manifest.preprocessing)

    @property
    def scoring(self) -> Scoring:
        """From anomaly map to raw score, exactly as calibrated."""
        return Scoring.from_dict(self.manifest.scoring)

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """The thresholds of each category."""
        return {k: Calibration.from_dict(v) for k, v in self.manifest.calibrations.items()}

    def _read_everything(self) -> None:
        """Raise at load, rather than at the first part, for what the manifest says wrongly."""
        _, calibrated = self.preprocessing, self.calibrations.keys()
        if self.scoring.uses_baselines and (missing := calibrated - self.baselines.keys()):
            raise CheckpointError(f"no baseline for {', '.join(sorted(missing))}")


def _read(
    directory: Path, manifest: Manifest, file: str, check: Callable[[Path], Check]
) -> dict[str, np.ndarray]:
    """Read a file of arrays that a version may have; none where it has none."""
    if file not in manifest.sha256:
        return {}
    path = directory / file
    root = directory.parent.parent
    return parse_weights(path, read_checked(path, manifest.sha256[file], check(path), root))


class Store:
    """A folder of checkpoints, each under its name and version."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def manifests(self) -> list[Manifest]:
        """Return every readable manifest, by name and then newest first; loads no weights."""
        return [entry for entry in self.entries().values() if isinstance(entry, Manifest)]

    def problems(self) -> dict[str, str]:
        """Say of each "name/version" whose manifest cannot be read why it cannot."""
        entries = self.entries()
        return {place: str(e) for place, e in entries.items() if isinstance(e, CheckpointError)}

    def find(self, name: str, version: str | None = None) -> Path:
        """Return the folder of a checkpoint, by default of its newest finished version.

        Where none is finished, it is the newest one's. Raises `CheckpointError`, listing what there
        is, when there is none.
        """
        check_name(name)
        have = versions_in(self.root / name)
        if not have:
            names = ", ".join(sorted({p.parent.name for p in self._folders()}))
            raise CheckpointError(
                f"no checkpoint {name!r} in {self.root}; have: {names or 'none at all'}"
            )
        if version is None:
            return self._newest(self.root / name, have)
        if version not in have:
            raise CheckpointError(
                f"no version {version!r} of checkpoint {name!r} in {self.root}; "
                f"have: {', '.join(have)}"
            )
        return self.root / name / version

    def _newest(self, folder: Path, versions: Sequence[str]) -> Path:
        """Return the newest finished version's folder, or one that cannot be read before it."""
        passed: list[str] = []
        for version in versions:
            try:
                unfinished = Manifest.read(folder / version).unfinished
            except CheckpointError:
                unfinished = None  # whoever opens it is told what is wrong with it
            if unfinished is None:
                if passed:
                    logger.warning(
                        "%s: version %s is used; passed over as unfinished: %s",
                        folder.name, version, ", ".join(passed),
                    )  # fmt: skip
                return folder / version
            passed.append(f"{version} ({unfinished})")
        logger.warning("%s: no version is finished: %s", folder.name, ", ".join(passed))
        return folder / versions[0]

    def entries(self) -> dict[str, Manifest | CheckpointError]:
        """Return every "name/version": its manifest, or why that cannot be read."""
        entries: dict[str, Manifest | CheckpointError] = {}
        for directory in self._folders():
            # A folder's name may be any bytes, and has to be one that can be answered.
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
        except OSError:  # there is none, or it may not be read
            return
        for parent in parents:
            if parent.name != ENCODERS:
                yield from (parent / version for version in versions_in(parent))


def attach_onnx(directory: Path, data: bytes) -> Manifest:
    """Put an ONNX file into a version's folder and its hash into the manifest; return that.

    Raises `CheckpointError` for a folder that holds no version, or a disk that refuses.
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
    """Return the content of a version's ONNX file once its hash is the manifest's.

    Raises `CheckpointError` where there is none, or another.
    """
    if not manifest.has_onnx:
        raise CheckpointError(
            f"{manifest.name}/{manifest.version} has no {ONNX_FILE} for onnxruntime: make one with "
            f"`mambaad export {manifest.name} --version {manifest.version} --serve`"
        )
    path = directory / ONNX_FILE
    check_inside(path, directory.parent.parent)
    return read_verified(path, manifest.sha256[ONNX_FILE], _MOST_ONNX_BYTES)


def does_not_fit(directory: Path, error: Exception) -> CheckpointError:
    """Return what to raise where the parts of a version contradict each other."""
    return CheckpointError(
        f"{directory} does not fit together, its manifest and weights describe different "
        f"things; save or import the checkpoint again: {str(error)[:1000]}"
    )
