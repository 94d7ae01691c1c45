"""UUIDv7, the ids of inspections and events: unique everywhere, and sorted by time."""

from uuid import UUID

import uuid6

_VERSION = 7


def new_id() -> UUID:
    """Return a new UUIDv7; within this process each is larger than the last.

    A clock that is set back does not change that.
    """
    return UUID(int=uuid6.uuid7().int)


def parse_id(text: str) -> UUID:
    """Return the id in a text. Raises `ValueError` if it is not a UUIDv7.

    >>> str(parse_id("0192F0C1-2C3A-7DEF-8123-456789ABCDEF"))
    '0192f0c1-2c3a-7def-8123-456789abcdef'
    """
    try:
        identifier = UUID(text)
    except ValueError:
        identifier = None
    if identifier is None or identifier.version != _VERSION or text.lower() != str(identifier):
        raise ValueError(f"expected a UUIDv7 such as {new_id()}, got {text[:50]!r}")
    return identifier
