"""Compression of answers; `bodies` inflates compressed requests."""

import gzip
import zlib

CODINGS = ("gzip", "deflate")
_LEVEL = 1  # fastest
_MIN_BYTES = 1024


def chosen_coding(accept_encoding: str) -> str | None:
    """Return the client's preferred coding of `CODINGS`; None if it accepts none of them.

    >>> chosen_coding("br, gzip;q=0.5, deflate")
    'deflate'
    """
    qualities: dict[str, float] = {}
    for entry in accept_encoding.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        if name in CODINGS:
            qualities[name] = _quality(parameters)
    best = max(CODINGS, key=lambda coding: qualities.get(coding, 0.0))
    return best if qualities.get(best, 0.0) > 0 else None


def compress(body: bytes, coding: str | None) -> tuple[bytes, dict[str, str]]:
    """Return the body, compressed if it is long enough, and the headers that declare it."""
    if coding is None or len(body) < _MIN_BYTES:
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
