"""An unfinished run on disk: everything that going on bit for bit needs, in one file.

    <folder>/state.safetensors   weights, their average, the optimizer; the record in the header
    <folder>/state.json          the same record, for people to read

The record travels inside the safetensors file so that both are replaced in one step: a power cut
between two files can never pair one step's weights with another's place in the run.
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
    """What an epoch came to; `held_out_loss` is None where there was nothing to measure it on.

    Of its `seconds` the loop has waited `wait_s` for images.
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
    """Where a run stands: the next step is number `step` of `epoch`, both counted from 0.

    `loss_sum` is the sum of the losses of the epoch's steps so far and `images` the number of their
    images, `seconds` their time and `wait_s` how much of that was waiting for images.
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
    """Write a run's state; `identity` is what a resumed run has to agree on.

    Raises `CheckpointError` when the disk refuses; an earlier state then still stands.
    """
    record = json.dumps({"identity": identity, "place": asdict(place)}, indent=2)
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / STATE_FILE, safetensors.torch.save(plain, {_HEADER: record}))
        write_durably(folder / RECORD_FILE, (record + "\n").encode())
    except OSError as error:
        raise CheckpointError(
            f"cannot save the run's state in {folder}: {error}; what was saved before stands, so "
            "make room and go on with --resume"
        ) from error


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run in a folder: what it is, and where it stands."""

    identity: Mapping[str, Any]
    place: Place


def read_run(folder: Path) -> StoredRun | None:
    """Return the run in `folder`, None where there is none; raises `CheckpointError`."""
    if not (folder / STATE_FILE).is_file():
        return None
    record = _read_record(folder)
    return StoredRun(record["identity"], _place(record["place"]))


def read_place(folder: Path) -> Place | None:
    """Return where the run in `folder` stands, None where there is none."""
    found = read_run(folder)
    return None if found is None else found.place


def load_state(folder: Path, identity: Mapping[str, Any]) -> tuple[Place, dict[str, Tensor]]:
    """Read a run's state back.

    Raises `CheckpointError` when it is missing or damaged, or when it is of another recipe or other
    images than `identity`, naming what differs.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise CheckpointError(f"nothing to resume: there is no {path}")
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
    """Raise `CheckpointError`, naming what differs, unless a stored run is the one to resume."""
    if different := differences(identity, stored):
        raise CheckpointError(
            f"cannot resume {folder}, which began otherwise: {'; '.join(different)}; "
            "give what it began with, or delete the folder and train from the start"
        )


def differences(identity: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Say what a stored run was begun with that is otherwise now."""
    # Through JSON and back, so that tuples compare with the lists they were written as.
    wanted, found = _flatten(json.loads(json.dumps(identity))), _flatten(stored)
    return [
        f"{key} was {found.get(key)!r}, is {wanted.get(key)!r}"
        for key in sorted(set(wanted) | set(found))
        if wanted.get(key) != found.get(key)
    ]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def forget_leftovers(folder: Path) -> None:
    """Remove what a run that was killed while it wrote has left half written."""
    for file in (STATE_FILE, RECORD_FILE):
        for leftover in folder.glob(f".{file}.*"):
            leftover.unlink(missing_ok=True)
