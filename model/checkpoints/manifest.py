"""The manifest: a checkpoint's description in JSON that people can read and diff."""

import importlib.metadata
import json
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from model.bounded import read_regular
from model.checkpoints.agreement import PRECISIONS, Agreement, without
from model.checkpoints.bounds import (
    MOST_MANIFEST_BYTES,
    check_inside,
    check_network,
    faults,
    parse_manifest,
)
from model.errors import CheckpointError
from model.images.areas import Area
from model.inspection import NAME_PATTERN
from model.limits import LARGEST_NUMBER, MOST_GOLDEN_IMAGES

FORMAT_VERSION = 1
"""Increase it when an older program could misread a newer manifest."""

MANIFEST_FILE = "manifest.json"
NETWORK_FILE = "network.safetensors"
BASELINES_FILE = "baselines.safetensors"
"""Present only if the scoring standardises its maps."""
GOLDEN_FILE = "golden.safetensors"
"""Present only with golden images (`model.checkpoints.golden`)."""
ONNX_FILE = "model.onnx"
"""The same network for machines without torch, beside the torch weights or instead of them."""
ENCODERS = "encoders"
"""The folder of the shared encoders; a checkpoint cannot have this name."""

VERSION_PATTERN = r"^[1-9][0-9]{0,8}$"
_PACKAGES = ("mambaad-service", "torch", "timm", "numba")

# No separator and no leading dot, so that a name from a manifest cannot point outside the store.
_Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
_File = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.safetensors$")
]
_AnyFile = _File | Literal["model.onnx"]
_Version = Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Precision = Annotated[str, StringConstraints(pattern=f"^({'|'.join(PRECISIONS)})$")]
_Text = Annotated[str, StringConstraints(max_length=10_000)]
_Raw = Annotated[float, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]


class GoldenEntry(BaseModel):
    """The scores of one category's golden images, and their tolerance."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    raw_scores: tuple[_Raw, ...] = Field(
        min_length=1, max_length=MOST_GOLDEN_IMAGES, fail_fast=True
    )
    tolerance: float = Field(gt=0, le=LARGEST_NUMBER)


class _Storable(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


class CalibrationEntry(BaseModel):
    """One calibration of a checkpoint; `source` describes its images."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: int = Field(ge=1, le=10**6)
    created: _Text
    source: _Text
    calibrations: dict[_Name, dict[str, Any]]


class Manifest(BaseModel):
    """Everything about a checkpoint except its weights.

    `network`, `preprocessing`, `scoring` and each value of `calibrations` are the `to_dict` of the
    class of that name; `sha256` has every file of the checkpoint: a network with its encoder, an
    ONNX file, or both; `areas` are the inspected areas by category. `calibration_log` has all
    calibrations since the first replacement, the current one last; `agreements` are of OpenVINO.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: int = Field(ge=1, le=10**6)
    name: _Name
    version: _Version
    created: _Text
    network: dict[str, Any]
    preprocessing: dict[str, Any]
    scoring: dict[str, Any]
    calibrations: dict[_Name, dict[str, Any]]
    encoder_file: _File
    sha256: dict[_AnyFile, _Sha256]
    training: dict[str, Any]
    metrics: dict[str, Any]
    software: dict[_Text, _Text]
    license: _Text | None = None
    notice: _Text | None = None
    golden: dict[_Name, GoldenEntry] = {}
    areas: dict[_Name, Area] = {}
    calibration_log: tuple[CalibrationEntry, ...] = ()
    agreements: dict[_Precision, dict[_Name, Agreement]] = {}

    @model_validator(mode="after")
    def _check_files(self) -> "Manifest":
        check_name(self.name)
        network = {NETWORK_FILE, self.encoder_file}
        named = set(self.sha256) - {BASELINES_FILE, GOLDEN_FILE}
        if named not in (network, network | {ONNX_FILE}, {ONNX_FILE}):
            raise ValueError(
                f"sha256 must name {sorted(network)}, {ONNX_FILE} or all three, "
                f"got {sorted(self.sha256)}"
            )
        check_network(self.network)
        if bool(self.golden) != (GOLDEN_FILE in self.sha256):
            raise ValueError(f"{GOLDEN_FILE} needs entries in `golden`, and they need the file")
        return self

    @property
    def categories(self) -> tuple[str, ...]:
        """The calibrated categories, in order of name."""
        return tuple(sorted(self.calibrations))

    @property
    def has_network(self) -> bool:
        """Whether the checkpoint has weights for torch."""
        return NETWORK_FILE in self.sha256

    @property
    def has_onnx(self) -> bool:
        """Whether the checkpoint has an ONNX file for onnxruntime."""
        return ONNX_FILE in self.sha256

    @property
    def unfinished(self) -> str | None:
        """The progress of an interrupted training; None for a finished one.

        A training that used up its --max-minutes is finished. So is one without a record: an older
        checkpoint, or one that was trained elsewhere.
        """
        learned = self.training
        if learned.get("finished") is not False or learned.get("ended") == "out of time":
            return None
        recipe = learned.get("recipe")
        epochs = recipe.get("epochs", "?") if isinstance(recipe, Mapping) else "?"
        return f"{learned.get('epochs_done', '?')} of {epochs} epochs done"

    @property
    def calibration_version(self) -> int:
        """The number of calibrations so far; 0 before the first."""
        return (
            self.calibration_log[-1].version
            if self.calibration_log
            else int(bool(self.calibrations))
        )

    def recalibrated(self, calibrations: Mapping[str, _Storable], source: str) -> "Manifest":
        """Return the manifest with new `calibrations` for their categories.

        The log keeps the previous ones, so that they can be restored.
        """
        if not calibrations:
            return self
        log, merged = list(self.calibration_log), dict(self.calibrations)
        merged |= {category: fitted.to_dict() for category, fitted in calibrations.items()}
        if not log and self.calibrations:
            log.append(self._entry(1, self.created, "the original", self.calibrations))
        if log:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            log.append(self._entry(log[-1].version + 1, now, source, merged))
        values = self.model_dump() | {"calibrations": merged, "calibration_log": log}
        values["agreements"] = without(self.agreements, calibrations)
        return type(self).from_values(values)

    @staticmethod
    def _entry(
        version: int, created: str, source: str, calibrations: dict[str, Any]
    ) -> CalibrationEntry:
        return CalibrationEntry(
            version=version, created=created, source=source, calibrations=calibrations
        )

    def calibration(self, version: int) -> CalibrationEntry:
        """Return a calibration of the log; raises `CheckpointError` for an unknown version."""
        for entry in self.calibration_log:
            if entry.version == version:
                return entry
        have = ", ".join(str(entry.version) for entry in self.calibration_log)
        raise CheckpointError(
            f"{self.name}/{self.version} has no calibration {version}; have: {have or 'the first'}"
        )

    def to_json(self) -> str:
        """Return the file's text; raises `CheckpointError` for a value that JSON cannot hold."""
        values = self.model_dump()
        # Older programs can read a manifest without these fields.
        for later in ("golden", "areas", "calibration_log", "agreements"):
            if not values[later]:
                del values[later]
        try:
            text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"a manifest may have only JSON values: {error}") from error
        parse_manifest(text)  # refuse to write a manifest that cannot be read
        # File names that are not UTF-8 get a JSON escape for each invalid byte.
        return text.encode("utf-8", "backslashreplace").decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Parse a manifest; raises `CheckpointError` with the faults."""
        return cls.from_values(parse_manifest(text))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Manifest":
        """Check the fields; raises `CheckpointError` with the faults."""
        written = values.get("format_version")
        if isinstance(written, int) and written > FORMAT_VERSION:
            raise CheckpointError(
                f"written in format {written}, but this mambaad-service reads up to format "
                f"{FORMAT_VERSION}: install a newer mambaad-service"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise CheckpointError(faults(error)) from error

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Read `<root>/<name>/<version>/manifest.json`; loads no weights.

        Raises `CheckpointError` if it is missing, damaged, newer, or of another checkpoint.
        """
        path = directory / MANIFEST_FILE
        try:
            check_inside(path, directory.parent.parent)
            manifest = cls.from_json(read_regular(path, MOST_MANIFEST_BYTES)[0])
        except FileNotFoundError as error:
            raise CheckpointError(f"no checkpoint at {directory}: no {MANIFEST_FILE}") from error
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
        except CheckpointError as error:
            raise CheckpointError(f"cannot use {path}: {error}") from error
        if (manifest.name, manifest.version) != (directory.parent.name, directory.name):
            raise CheckpointError(
                f"{path} is of {manifest.name}/{manifest.version}, but its folder is "
                f"{directory.parent.name}/{directory.name}: move it to the folder of its name and "
                "version"
            )
        return manifest


def software() -> dict[str, str]:
    """Return the versions of Python and the packages behind a checkpoint."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def versions_in(parent: Path) -> list[str]:
    """Return the version numbers under a name's folder, newest first."""
    try:
        names = [path.name for path in parent.iterdir()]
    except OSError:  # no folder, or no permission
        return []
    numbers = (name for name in names if re.fullmatch(VERSION_PATTERN[1:-1], name))
    return sorted(numbers, key=int, reverse=True)


def check_name(name: str) -> None:
    """Raise `CheckpointError` unless `name` is valid for a checkpoint (and a folder)."""
    if not re.fullmatch(NAME_PATTERN[1:-1], name):
        raise CheckpointError(
            "a checkpoint's name must be up to 100 letters, digits, '.', '_' and '-', starting "
            f"with a letter or digit; got {name!r}"
        )
    if name == ENCODERS:
        raise CheckpointError(f"{ENCODERS!r} is reserved for the store: choose another name")
