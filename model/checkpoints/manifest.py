"""The manifest: what a checkpoint says about itself, in JSON that a human can read and diff."""

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
"""Raised whenever an older program could misread what a newer one wrote."""

MANIFEST_FILE = "manifest.json"
NETWORK_FILE = "network.safetensors"
BASELINES_FILE = "baselines.safetensors"
"""Only where the scoring standardises its maps."""
GOLDEN_FILE = "golden.safetensors"
"""Only where there are golden images (`model.checkpoints.golden`)."""
ONNX_FILE = "model.onnx"
"""Beside the network or in its place: the same network, for machines without torch."""
ENCODERS = "encoders"
"""The folder of the shared encoders, and so never a checkpoint's name."""

VERSION_PATTERN = r"^[1-9][0-9]{0,8}$"

_PACKAGES = ("mambaad-service", "torch", "timm", "numba")

# No separator and no leading dot: a name from a manifest can never point outside the store.
_Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
_File = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.safetensors$")
]
_AnyFile = _File | Literal["model.onnx"]
_Version = Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


_Text = Annotated[str, StringConstraints(max_length=10_000)]
_Raw = Annotated[float, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]


class GoldenEntry(BaseModel):
    """What one category's golden images scored, and by how much another score may differ."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    raw_scores: tuple[_Raw, ...] = Field(
        min_length=1, max_length=MOST_GOLDEN_IMAGES, fail_fast=True
    )
    tolerance: float = Field(gt=0, le=LARGEST_NUMBER)


class _Storable(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


class CalibrationEntry(BaseModel):
    """One calibration of a checkpoint: `source` says what from, in words."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: int = Field(ge=1, le=10**6)
    created: _Text
    source: _Text
    calibrations: dict[_Name, dict[str, Any]]


class Manifest(BaseModel):
    """Everything about a checkpoint but its weights.

    `network`, `preprocessing`, `scoring` and each value of `calibrations` are the `to_dict` of the
    class of that name; `sha256` names every file that the checkpoint is made of: a network with its
    encoder, an ONNX file, or both; `areas` say which part of a category's images counts.
    `calibration_log` holds every calibration since one first replaced another, the one in force
    last.
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
            raise ValueError(f"{GOLDEN_FILE} and what is said of it in `golden` go together")
        return self

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that the checkpoint is calibrated for, in order of name."""
        return tuple(sorted(self.calibrations))

    @property
    def has_network(self) -> bool:
        """Whether the network's own weights are there, which torch computes with."""
        return NETWORK_FILE in self.sha256

    @property
    def has_onnx(self) -> bool:
        """Whether there is an ONNX file, which onnxruntime computes with."""
        return ONNX_FILE in self.sha256

    @property
    def unfinished(self) -> str | None:
        """How far the training came that was interrupted; None where it came to its end.

        One that was given so many minutes has come to its end. So has one that says nothing of it:
        a checkpoint from before this was kept, or one that was trained elsewhere.
        """
        learned = self.training
        if learned.get("finished") is not False or learned.get("ended") == "out of time":
            return None
        recipe = learned.get("recipe")
        asked = recipe.get("epochs", "?") if isinstance(recipe, Mapping) else "?"
        return f"{learned.get('epochs_done', '?')} of {asked} epochs done"

    @property
    def calibration_version(self) -> int:
        """How many calibrations there have been, counting from 1; 0 before the first."""
        return (
            self.calibration_log[-1].version
            if self.calibration_log
            else int(bool(self.calibrations))
        )

    def recalibrated(self, calibrations: Mapping[str, _Storable], source: str) -> "Manifest":
        """Return the manifest with `calibrations` in force for the categories they name.

        What was in force before stays in the log, as a version that can be taken up again.
        """
        if not calibrations:
            return self
        log, merged = list(self.calibration_log), dict(self.calibrations)
        merged |= {category: fitted.to_dict() for category, fitted in calibrations.items()}
        if not log and self.calibrations:
            log.append(self._entry(1, self.created, "as it was made", self.calibrations))
        if log:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            log.append(self._entry(log[-1].version + 1, now, source, merged))
        values = self.model_dump() | {"calibrations": merged, "calibration_log": log}
        return type(self).from_values(values)

    @staticmethod
    def _entry(
        version: int, created: str, source: str, calibrations: dict[str, Any]
    ) -> CalibrationEntry:
        return CalibrationEntry(
            version=version, created=created, source=source, calibrations=calibrations
        )

    def calibration(self, version: int) -> CalibrationEntry:
        """Return an earlier calibration; raises `CheckpointError` for one that never was."""
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
        # Programs from before there were any can read a manifest without them.
        for later in ("golden", "areas", "calibration_log"):
            if not values[later]:
                del values[later]
        try:
            text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"a manifest holds only JSON values: {error}") from error
        parse_manifest(text)  # what cannot be read again is not written
        # A file's name that is not UTF-8 is written with JSON's own escape for each strange byte.
        return text.encode("utf-8", "backslashreplace").decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Parse a manifest; raises `CheckpointError` saying what is wrong with it."""
        return cls.from_values(parse_manifest(text))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Manifest":
        """Check the fields; raises `CheckpointError` saying which are wrong."""
        written = values.get("format_version")
        if isinstance(written, int) and written > FORMAT_VERSION:
            raise CheckpointError(
                f"written in format {written}, and this mambaad-service reads up to format "
                f"{FORMAT_VERSION}: install a newer mambaad-service"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise CheckpointError(faults(error)) from error

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Read `<root>/<name>/<version>/manifest.json`; loads no weights.

        Raises `CheckpointError` when it is missing, damaged, newer, or of another checkpoint.
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
                f"{path} says it is {manifest.name}/{manifest.version}; a checkpoint lies in "
                "the folder of its name and version: move it there"
            )
        return manifest


def software() -> dict[str, str]:
    """Return the versions of what a checkpoint is made with."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def versions_in(parent: Path) -> list[str]:
    """Return the version numbers under a name's folder, newest first."""
    try:
        names = [path.name for path in parent.iterdir()]
    except OSError:  # no folder, or one that may not be read
        return []
    found = (name for name in names if re.fullmatch(VERSION_PATTERN[1:-1], name))
    return sorted(found, key=int, reverse=True)


def check_name(name: str) -> None:
    """Raise `CheckpointError` unless `name` can name a checkpoint (and a folder)."""
    if not re.fullmatch(NAME_PATTERN[1:-1], name):
        raise CheckpointError(
            "a checkpoint's name is up to 100 letters, digits, '.', '_' and '-', the first a "
            f"letter or digit; got {name!r}"
        )
    if name == ENCODERS:
        raise CheckpointError(f"{ENCODERS!r} is the store's own folder: choose another name")
