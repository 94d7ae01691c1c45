"""Read untrusted files and JSON at a bounded cost.

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
    """Return a regular file's content, and its `stat` result from before the read.

    Raises `OSError`, also for pipes, devices, folders and files of more than `most_bytes`.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"the file is larger than {most_bytes} bytes", str(path))
    return content, status


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for a writer


def strict_json(
    content: str | bytes, *, most_depth: int = 32, most_values: int = 250_000, most_digits: int = 19
) -> object:
    """Parse JSON in UTF-8.

    Raises `ValueError` for NaN, infinity, duplicate names in an object, lone surrogates, and
    anything beyond the limits.
    """
    text = content.decode("utf-8") if isinstance(content, bytes) else content
    if sum(map(text.count, ",[{")) > most_values:  # before any object is created
        raise ValueError(f"it has more than {most_values} values")

    def integer(digits: str) -> int:
        if len(digits.lstrip("-")) > most_digits:
            raise ValueError(f"an integer has {len(digits)} digits, expected at most {most_digits}")
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
        raise ValueError(f"an object has the name {twice[:100]!r} twice")
    return values


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:30]} is too large for a float")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check(value: object, levels: int) -> None:
    """Raise `RecursionError` for deeper nesting, `ValueError` for text that is not valid UTF-8."""
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
