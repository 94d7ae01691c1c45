"""Files and JSON that somebody else wrote, read at a bounded cost.

values = strict_json(read_regular(folder / "manifest.json", most_bytes=2**23)[0])
"""

import errno
import json
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn


def read_regular(path: Path, most_bytes: int) -> tuple[bytes, os.stat_result]:
    """Return a file's content, and its state before that was read.

    Raises `OSError`, also for a pipe, a device or a folder, and for more than `most_bytes`.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is a file of more than {most_bytes} bytes", str(path))
    return content, status


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for a writer


def strict_json(
    content: str | bytes, *, most_depth: int = 32, most_values: int = 250_000, most_digits: int = 19
) -> object:
    """Parse JSON in UTF-8; raises `ValueError` for what no program of ours writes.

    That is NaN and infinity, longer integers, a name twice in one object, half a surrogate pair,
    deeper nesting, and more values.
    """
    text = content.decode("utf-8") if isinstance(content, bytes) else content
    if sum(map(text.count, ",[{")) > most_values:  # counted before any of them is made
        raise ValueError(f"it holds more than {most_values} values")

    def integer(digits: str) -> int:
        if len(digits.lstrip("-")) > most_digits:
            raise ValueError(f"an integer of {len(digits)} digits, at most {most_digits} are read")
        return int(digits)

    try:
        values: object = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=integer,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        _check(values, most_depth)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {most_depth} levels deep") from error
    return values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice[:100]!r} stands twice in one object")
    return values


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:30]} is beyond every float")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _check(value: object, levels: int) -> None:
    """Raise `ValueError` for more levels, or for text that could not be written as UTF-8."""
    if isinstance(value, str):
        value.encode("utf-8")
        return
    if not isinstance(value, dict | list):
        return
    if levels == 0:
        raise RecursionError
    if isinstance(value, dict):
        for name in value:
            _check(name, levels)
    for inner in value.values() if isinstance(value, dict) else value:
        _check(inner, levels - 1)
