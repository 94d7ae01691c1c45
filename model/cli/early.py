"""Checks that need no torch. A command makes them before it imports torch, which takes seconds."""

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.checkpoints.manifest import Manifest

_LISTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".manifest")
_WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
"""Workbooks are refused later, with how to save them as a list."""
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


def find_version(weights: Path, name: str, version: str | None = None) -> "Manifest":
    """Return a version's manifest; raises `CheckpointError` if it is not in the store."""
    from model.checkpoints.manifest import Manifest
    from model.checkpoints.store import Store

    return Manifest.read(Store(weights).find(name, version))


def find_data(data: Path) -> None:
    """Raise `DatasetError` for data that do not exist, an empty folder, or a file of no list."""
    expected = f"expected a folder of images, or a list ({', '.join(_LISTS[:3])})"
    if not data.exists():
        raise DatasetError(f"no folder {data}: {expected}{_similar(data)}")
    if data.is_file() and data.suffix.lower() not in _LISTS + _WORKBOOKS:
        raise DatasetError(f"{data} is a file: {expected}")
    if data.is_dir() and next(data.iterdir(), None) is None:
        raise DatasetError(f"the folder {data} is empty: {expected}")


def find_folder(folder: Path, option: str, content: str) -> None:
    """Raise `DatasetError` unless an option names a folder."""
    if not folder.exists():
        raise DatasetError(f"{option}: no folder {folder}{_similar(folder)}")
    if not folder.is_dir():
        raise DatasetError(f"{option} must be a folder of {content}, got the file {folder}")


def find_images(folder: Path, option: str) -> None:
    """Raise `DatasetError` unless an option names a folder that has something in it."""
    find_folder(folder, option, "images")
    if next(folder.iterdir(), None) is None:
        raise DatasetError(f"{option}: the folder {folder} is empty")


def writable_file(file: Path | None, option: str, suffix: str | None = None) -> None:
    """Raise `ConfigError` for an output that is a folder, lies below a file, or has another end."""
    if file is None:
        return
    if file.is_dir():
        raise ConfigError(f"{option} must name a file to write, got the folder {file}")
    if suffix is not None and file.suffix.lower() != suffix:
        raise ConfigError(f"{option} writes a file that ends in {suffix}, got {str(file)!r}")
    writable_folder(file.parent, option)


def writable_folder(folder: Path | None, option: str) -> None:
    """Raise `ConfigError` for a folder that cannot be made because a file has its place."""
    if folder is None:
        return
    for place in (folder, *folder.parents):
        if place.is_dir():
            return
        if place.exists():
            raise ConfigError(f"{option} needs the folder {folder}, but {place} is a file")


def positive(option: str, value: float | None) -> None:
    """Raise `ConfigError` for a number that is not above 0."""
    if value is not None and not 0 < value < float("inf"):
        raise ConfigError(f"{option} must be above 0, got {value:g}")


def share(option: str, value: float | None) -> None:
    """Raise `ConfigError` for a number that is not between 0 and 1."""
    if value is not None and not 0 < value < 1:
        raise ConfigError(f"{option} must be between 0 and 1 (0.01 means 1 %), got {value:g}")


def _similar(path: Path) -> str:
    """Return a question for a folder beside it that has nearly the same name, if there is one."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def known_device(device: str) -> str:
    """Return the device; raises `ConfigError` if no machine has a device of this name."""
    if not _DEVICE.fullmatch(device):
        raise ConfigError(f"device must be cpu, cuda or cuda:N, got {device!r}")
    return device


def known_engine(engine: str) -> str:
    """Return the engine; raises `ConfigError` if there is none of this name."""
    from model.runtimes.offline import ENGINES

    if engine not in ENGINES:
        raise ConfigError(f"--engine is {_one_of(ENGINES)}, got {engine!r}")
    return engine


def known_precision(precision: str) -> str:
    """Return the precision; raises `ConfigError` if no engine has one of this name."""
    from model.checkpoints.agreement import PRECISIONS

    if precision not in PRECISIONS:
        raise ConfigError(f"--precision is {_one_of(PRECISIONS)}, got {precision!r}")
    return precision


def _one_of(names: "Sequence[str]") -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
