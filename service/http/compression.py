"""Answers in the coding that a client asks for, where that is worth it.

What comes compressed is inflated by `bodies`, for every route and within its limits.
"""

import gzip
import zlib

CODINGS = ("gzip", "deflate")
_LEVEL = 1  # what is worth sending compressed is worth it at the fastest level
_WORTH_IT_BYTES = 1024


def chosen_coding(accept_encoding: str) -> str | None:
    """Return the coding that the client likes best of those there are; None for none."""
    liked: dict[str, float] = {}
    for entry in accept_encoding.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        if name in CODINGS:
            liked[name] = _quality(parameters)
    best = max(CODINGS, key=lambda coding: liked.get(coding, 0.0))
    return best if liked.get(best, 0.0) > 0 else None


def compress(body: bytes, coding: str | None) -> tuple[bytes, dict[str, str]]:
    """Return the body in a coding where that is worth it, and the headers that say so."""
    if coding is None or len(body) < _WORTH_IT_BYTES:
        return body, {"Vary": "Accept-Encoding"}
    if coding == "gzip":
        compressed = gzip.compress(body, _LEVEL, mtime=0)
    else:
        compressed = zlib.compress(body, _LEVEL)
    return compressed, {"Vary": "Accept-Encoding", "Content-Encoding": coding}


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
