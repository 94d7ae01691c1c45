"""MQTT topics from templates: names that clients chose cannot add levels or wildcards.

>>> fill("mambaad/{site}/{station}/result", {"site": "Plant 2", "station": "press/7+"})
'mambaad/Plant 2/press%2F7%2B/result'
"""

import re
from collections.abc import Mapping

_MISSING = "-"
_UNSAFE = re.compile(
    "[%+#/\0-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)
"""Separators, wildcards, and characters for which a broker may close the connection."""


def fill(template: str, values: Mapping[str, str | None]) -> str:
    """Return a topic; a missing or empty value is `-`.

    An unsafe character becomes `%` and two hex digits for each byte of its UTF-8, and so do a
    value that is `-` and a `$` at the topic's beginning.
    """
    topic = re.sub(r"\{(\w+)\}", lambda match: level(values[match[1]]), template)
    return f"%24{topic[1:]}" if topic.startswith("$") else topic


def level(value: str | None) -> str:
    """Return a value as one level of a topic.

    >>> level(None), level("-"), level("#")
    ('-', '%2D', '%23')
    """
    if not value:
        return _MISSING
    return _escape(value) if value == _MISSING else _UNSAFE.sub(lambda m: _escape(m[0]), value)


def _escape(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
