"""The images that a checkpoint has learned from and that set its thresholds, as digests.

A list in the version's folder, `images-<sha8>.json`, which the manifest names under
`training.image_list` with its sha256. No weights depend on it: a version whose list is missing or
altered still serves, and nothing can then be said of test images.

    learned       {"train": {category: [digest, ...]}, "held_out": ..., "watch": ...}; null where
                  that is not known, as for a network that was trained elsewhere
    calibrations  by the calibration's number: the good and defective images that set thresholds,
                  or the number of the one that was taken up again
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
"""The manifest's key for it, under `training`: programs from before there was one read it."""
_MOST_BYTES = 2**28
"""Of a list: some 140 bytes an image."""

Digests = Mapping[Category, Sequence[str]]
_GoodAndDefective = tuple[Sequence[str], Sequence[str]]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Lists = dict[str, tuple[_Digest, ...]]
_Role = Annotated[str, StringConstraints(pattern=r"^(train|held_out|watch)$")]


class CalibrationImages(BaseModel):
    """The images of one calibration by category, or the number of one that counts `again`."""

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
    """What training and calibration have seen; `learned` is None where that is not known."""

    learned: Mapping[str, Digests] | None = None
    calibrations: Mapping[int, CalibrationImages] = field(default_factory=dict)

    def calibrated(self, number: int, images: CalibrationImages) -> "SeenImages":
        """Return the list with another calibration."""
        return SeenImages(self.learned, {**self.calibrations, number: images})

    def uses(self, calibration_version: int) -> Iterator[tuple[str, str]]:
        """Yield every image's digest with its use, of calibrations those in force only."""
        words = {"train": "trained on", "held_out": "held out in training", "watch": "watched"}
        for role, lists in (self.learned or {}).items():
            yield from ((digest, words[role]) for own in lists.values() for digest in own)
        for one in self._in_force(calibration_version).values():
            yield from ((digest, "calibrated with, as good") for digest in one[0])
            yield from ((digest, "calibrated with, as defective") for digest in one[1])

    def gap(self, calibration_version: int) -> str | None:
        """Say what is not known, None where everything is."""
        if self.learned is None:
            return "the checkpoint does not say which images it was trained on"
        recorded = {1, *self.calibrations}
        again = {one.again for one in self.calibrations.values() if one.again is not None}
        if not {*range(1, calibration_version + 1), *again} <= recorded:
            return "the checkpoint does not say which images set its present thresholds"
        return None

    def in_force(self, calibration_version: int) -> CalibrationImages:
        """Return the images behind the thresholds in force, as one calibration."""
        state = self._in_force(calibration_version)
        return CalibrationImages(
            good={category: tuple(good) for category, (good, _) in state.items()},
            defective={category: tuple(bad) for category, (_, bad) in state.items() if bad},
        )

    def _in_force(self, last: int) -> dict[Category, _GoodAndDefective]:
        first = (self.learned or {}).get("held_out", {})
        state: dict[Category, _GoodAndDefective] = {c: (own, ()) for c, own in first.items()}
        stages = {1: dict(state)}
        for number, one in sorted(self.calibrations.items()):
            if number > last:
                break
            if one.again is not None:
                state = state | stages.get(one.again, {})
            else:
                state = state | {
                    category: (good, one.defective.get(category, ()))
                    for category, good in one.good.items()
                }
            stages[number] = dict(state)
        return state

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        learned = self.learned and {
            role: {c: tuple(own) for c, own in lists.items()}
            for role, lists in self.learned.items()
            if lists or role != "watch"
        }
        file = _File.model_validate(
            {"learned": learned, "calibrations": dict(sorted(self.calibrations.items()))}
        )
        return (json.dumps(file.model_dump(exclude_defaults=False), indent=0) + "\n").encode()


def file_name(content: bytes) -> str:
    """Return the list's name, which is its content's."""
    return f"images-{sha256(content)[:8]}.json"


def entry(content: bytes) -> dict[str, str]:
    """Return what the manifest says of a list."""
    return {"file": file_name(content), "sha256": sha256(content)}


def read_seen(directory: Path, manifest: Manifest) -> SeenImages | None:
    """Return the list of a version in `directory`, None where it has none.

    Raises `CheckpointError` where it is missing, altered, or no list.
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
        raise CheckpointError(f"the image list of {directory} cannot be used: {error}") from error
    return SeenImages(content.learned, content.calibrations)


def forget_lists(directory: Path, kept: str) -> None:
    """Remove the lists of earlier calibrations, which no manifest names any more."""
    for path in directory.glob("images-????????.json"):
        if path.name != kept:
            path.unlink(missing_ok=True)
