"""An unfinished run on disk: all that is needed to resume bit for bit, in one file.

    <folder>/state.safetensors   weights, their average, the optimizer; the record in the header
    <folder>/state.json          the same record, for people

The record is inside the safetensors file, so that weights and place are replaced atomically, even
if the power fails.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from model.durable import write_durably
from model.errors import CheckpointError

STATE_FILE = "state.safetensors"
RECORD_FILE = "state.json"
_HEADER = "record"


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """The figures of an epoch; `held_out_loss` is None without watched images.

    `wait_s` is the part of `seconds` that the loop waited for images.
    """

    epoch: int
    loss: float
    held_out_loss: float | None
    learning_rate: float
    seconds: float
    images_per_second: float
    wait_s: float = 0.0


@dataclass(slots=True)
class Place:
    """A run's progress: the next step is number `step` of `epoch`, both counted from 0.

    For the epoch's steps so far, `loss_sum` is the sum of losses, `images` the number of images,
    `seconds` the time, and `wait_s` the part of it spent waiting for images.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0
    wait_s: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)


def save_state(
    folder: Path, identity: Mapping[str, Any], place: Place, tensors: Mapping[str, Tensor]
) -> None:
    """Write a run's state; a resumed run must have the same `identity`.

    Raises `CheckpointError` for a failed write, which leaves an earlier state unchanged.
    """
    record = json.dumps({"identity": identity, "place": asdict(place)}, indent=2)
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / STATE_FILE, safetensors.torch.save(plain, {_HEADER: record}))
        write_durably(folder / RECORD_FILE, (record + "\n").encode())
    except OSError as error:
        raise CheckpointError(
            f"cannot save the run's state in {folder}: {error}; the last saved state is unchanged: "
            "free some space and continue with --resume"
        ) from error


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A stored run's identity and progress."""

    identity: Mapping[str, Any]
    place: Place


def read_run(folder: Path) -> StoredRun | None:
    """Return the run in `folder`, or None; raises `CheckpointError` for a damaged state."""
    if not (folder / STATE_FILE).is_file():
        return None
    record = _read_record(folder)
    return StoredRun(record["identity"], _place(record["place"]))


def read_place(folder: Path) -> Place | None:
    """Return the progress of the run in `folder`, or None."""
    run = read_run(folder)
    return None if run is None else run.place


def load_state(folder: Path, identity: Mapping[str, Any]) -> tuple[Place, dict[str, Tensor]]:
    """Read a run's state.

    Raises `CheckpointError` if it is missing or damaged, or if its recipe or images differ from
    `identity`.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise CheckpointError(f"nothing to resume: no file {path}")
    record = _read_record(folder)
    check_identity(folder, identity, record["identity"])
    return _place(record["place"]), safetensors.torch.load_file(path)


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / STATE_FILE
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        record: dict[str, Any] = json.loads(header[_HEADER])
        _place(record["place"])
        dict(record["identity"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is not the state of a run ({error}); delete {folder} and train from the start"
        ) from error
    return record


def _place(values: Mapping[str, Any]) -> Place:
    history = [EpochRecord(**record) for record in values["history"]]
    return Place(**{**values, "history": history})


def check_identity(folder: Path, identity: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` with the differences unless the identities are equal."""
    if different := differences(identity, stored):
        raise CheckpointError(
            f"cannot resume {folder}, which began with other settings: {'; '.join(different)}; "
            "give the same settings, or delete the folder and train from the start"
        )


def differences(identity: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """List the values of a stored run that differ from `identity`."""
    # JSON turns tuples into lists, as in the stored values.
    wanted, began = flatten(json.loads(json.dumps(identity))), flatten(stored)
    return [
        f"{key} was {began.get(key)!r}, is {wanted.get(key)!r}"
        for key in sorted(set(wanted) | set(began))
        if wanted.get(key) != began.get(key)
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their names, joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def forget_leftovers(folder: Path) -> None:
    """Delete partial files of a run that was killed while writing."""
    for file in (STATE_FILE, RECORD_FILE):
        for leftover in folder.glob(f".{file}.*"):
            leftover.unlink(missing_ok=True)
