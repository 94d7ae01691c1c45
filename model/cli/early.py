"""Checks that need no torch. A command makes them before it imports torch, which takes seconds."""

import re
from pathlib import Path

from model.errors import ConfigError, DatasetError

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


def find_version(weights: Path, name: str, version: str | None = None) -> None:
    """Raise `CheckpointError` for a checkpoint or version that is not in the store."""
    from model.checkpoints.store import Store

    Store(weights).find(name, version)


def find_data(data: Path) -> None:
    """Raise `DatasetError` for data that do not exist."""
    if not data.exists():
        raise DatasetError(f"no folder {data}")


def known_device(device: str) -> str:
    """Return the device; raises `ConfigError` if no machine has a device of this name."""
    if not _DEVICE.fullmatch(device):
        raise ConfigError(f"device must be cpu, cuda or cuda:N, got {device!r}")
    return device
