"""The seconds of an image, measured once for a checkpoint and kept on disk.

All processes on a machine read the same measurement, so that scores do not depend on which of them
was started in a noisy moment.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock

from model.durable import write_durably

logger = logging.getLogger(__name__)

WORTH = 0.85
"""Another way to compute is taken if it needs at most this share of the time."""

_WARM_UPS = 2
_ROUNDS = 8
_LOCK_S = 300.0

Ways: TypeAlias = Mapping[str, Callable[[], object]]
"""Ways to compute the same image, by name."""


def measured(file: Path, build: Callable[[], Ways]) -> dict[str, float]:
    """Return the seconds of each way from `file`; if it has none, measures and writes them.

    Only then are the ways built.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock: FileLock | nullcontext[None] = FileLock(f"{file}.lock", timeout=_LOCK_S)
    except OSError:
        lock = nullcontext()
    with lock:
        if (seconds := _read(file)) is not None:
            return seconds
        seconds = _measure(build())
        logger.info("measured %s", {name: f"{1e3 * s:.1f} ms" for name, s in seconds.items()})
        try:
            write_durably(file, json.dumps(seconds).encode())
        except OSError as error:
            logger.warning("speeds are measured at every start: %s", error)
        return seconds


def chosen(seconds: Mapping[str, float]) -> str:
    """Return the way to take: the first one, or a later one that is worth the change.

    >>> chosen({"torch": 20.0, "float32": 18.0, "bfloat16": 16.0})
    'bfloat16'
    >>> chosen({"torch": 20.0, "float32": 16.0, "bfloat16": 14.0})
    'float32'
    """
    names = list(seconds)
    best = names[0]
    for name in names[1:]:
        if seconds[name] <= WORTH * seconds[best]:
            best = name
    return best


def file_in(folder: Path, *facts: object) -> Path:
    """Return the file for a measurement that depends on `facts`."""
    return folder / f"{hashlib.sha256(repr(facts).encode()).hexdigest()}.speeds"


def _measure(ways: Ways) -> dict[str, float]:
    """Return the fastest of several calls of each, which take turns: load delays all alike."""
    for _ in range(_WARM_UPS):
        for call in ways.values():
            call()
    best = dict.fromkeys(ways, math.inf)
    for turn in range(_ROUNDS):
        for name in list(ways) if turn % 2 else list(ways)[::-1]:
            started = time.perf_counter()
            ways[name]()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def _read(file: Path) -> dict[str, float] | None:
    """Return the file's speeds in the order of the ways, or None if it is missing or damaged."""
    try:
        seconds = {name: float(value) for name, value in json.loads(file.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return seconds if seconds and all(0 < s < math.inf for s in seconds.values()) else None
