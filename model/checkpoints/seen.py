"""Digests of the images in a checkpoint's training and calibration.

The list is `images-<sha8>.json` in the version's folder; the manifest has its name and sha256 under
`training.image_list`. A version with a missing or altered list can still serve, but test images
cannot be checked.

    learned       {"train": {category: [digest, ...]}, "held_out": ..., "watch": ...}; null if
                  unknown, as for a network that was trained elsewhere
    calibrations  by the calibration's number: the good and defective images of the thresholds, or
                  the number of the restored calibration
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from model.checkpoints.files import read_verified, sha256
from model.checkpoints.manifest import Manifest
from model.errors import CheckpointError
from model.inspection import Category

LIST = "image_list"
"""The list's key in the manifest under `training`, where older programs accept it."""
_MOST_BYTES = 2**28
"""Largest list; an image takes about 140 bytes."""

Digests = Mapping[Category, Sequence[str]]
_GoodAndDefective = tuple[Sequence[str], Sequence[str]]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Lists = dict[str, tuple[_Digest, ...]]
_Role = Annotated[str, StringConstraints(pattern=r"^(train|held_out|watch)$")]


class CalibrationImages(BaseModel):
    """The images of one calibration by category, or the number of the restored calibration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    good: _Lists = {}
    defective: _Lists = {}
    again: int | None = Field(None, ge=1)


class _Entry(BaseModel):
    file: Annotated[str, StringConstraints(pattern=r"^images-[0-9a-f]{8}\.json$")]
    sha256: _Digest


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    digest: Literal["blake2b-128 of the file, then of its pixels"] = (
        "blake2b-128 of the file, then of its pixels"
    )
    learned: dict[_Role, _Lists] | None
    calibrations: dict[int, CalibrationImages]


@dataclass(frozen=True, slots=True)
class SeenImages:
    """The images in training and calibration; `learned` is None if unknown."""

    learned: Mapping[str, Digests] | None = None
    calibrations: Mapping[int, CalibrationImages] = field(default_factory=dict)

    def calibrated(self, number: int, images: CalibrationImages) -> "SeenImages":
        """Return the list with another calibration."""
        return SeenImages(self.learned, {**self.calibrations, number: images})

    def uses(self, calibration_version: int) -> Iterator[tuple[str, str]]:
        """Yield every image's digest with its use, for training and the current calibrations."""
        words = {"train": "trained on", "held_out": "held out in training", "watch": "watched"}
        for role, lists in (self.learned or {}).items():
            yield from ((digest, words[role]) for digests in lists.values() for digest in digests)
        for good, defective in self._in_force(calibration_version).values():
            yield from ((digest, "calibrated with, as good") for digest in good)
            yield from ((digest, "calibrated with, as defective") for digest in defective)

    def gap(self, calibration_version: int) -> str | None:
        """Describe what is unknown; None if everything is known."""
        if self.learned is None:
            return "the checkpoint does not list its training images"
        recorded = {1, *self.calibrations}
        again = {images.again for images in self.calibrations.values() if images.again is not None}
        if not {*range(1, calibration_version + 1), *again} <= recorded:
            return "the checkpoint does not list the images of its current thresholds"
        return None

    def in_force(self, calibration_version: int) -> CalibrationImages:
        """Return the images behind the current thresholds, as one calibration."""
        state = self._in_force(calibration_version)
        return CalibrationImages(
            good={category: tuple(good) for category, (good, _) in state.items()},
            defective={category: tuple(bad) for category, (_, bad) in state.items() if bad},
        )

    def _in_force(self, last: int) -> dict[Category, _GoodAndDefective]:
        first = (self.learned or {}).get("held_out", {})
        state: dict[Category, _GoodAndDefective] = {c: (good, ()) for c, good in first.items()}
        stages = {1: dict(state)}
        for number, images in sorted(self.calibrations.items()):
            if number > last:
                break
            if images.again is not None:
                state = state | stages.get(images.again, {})
            else:
                state = state | {
                    category: (good, images.defective.get(category, ()))
                    for category, good in images.good.items()
                }
            stages[number] = dict(state)
        return state

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        learned = self.learned and {
            role: {c: tuple(digests) for c, digests in lists.items()}
            for role, lists in self.learned.items()
            if lists or role != "watch"
        }
        file = _File.model_validate(
            {"learned": learned, "calibrations": dict(sorted(self.calibrations.items()))}
        )
        return (json.dumps(file.model_dump(exclude_defaults=False), indent=0) + "\n").encode()


def file_name(content: bytes) -> str:
    """Return the list's file name, derived from its content."""
    return f"images-{sha256(content)[:8]}.json"


def entry(content: bytes) -> dict[str, str]:
    """Return a list's entry in the manifest."""
    return {"file": file_name(content), "sha256": sha256(content)}


def read_seen(directory: Path, manifest: Manifest) -> SeenImages | None:
    """Return the list of the version in `directory`, or None if the manifest names no list.

    Raises `CheckpointError` for a missing, altered or invalid list.
    """
    named = manifest.training.get(LIST)
    if named is None:
        return None
    try:
        listed = _Entry.model_validate(named)
        content = _File.model_validate_json(
            read_verified(directory / listed.file, listed.sha256, _MOST_BYTES)
        )
    except ValidationError as error:
        raise CheckpointError(f"cannot use the image list of {directory}: {error}") from error
    return SeenImages(content.learned, content.calibrations)


def forget_lists(directory: Path, current: str) -> None:
    """Delete all lists except `current`."""
    for path in directory.glob("images-????????.json"):
        if path.name != current:
            path.unlink(missing_ok=True)
