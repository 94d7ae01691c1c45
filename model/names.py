"""Convert category names into names that are safe in paths and URLs.

    safe_names(["Zelle grün", "bolt"])    {"Zelle grün": "Zelle-gruen", "bolt": "bolt"}

A name of letters, digits, '.', '_' and '-' does not change. In other names umlauts are written
out, accents are removed, and each run of other characters becomes '-'. The first eight digits of
the name's SHA-256 are appended if letters are lost (电池), if the name is too long, or if two names
would become the same.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from model.inspection import NAME_PATTERN, Category

_LONGEST = 100
_WRITTEN_OUT = str.maketrans({
    "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ẞ": "SS",
    "ø": "oe", "Ø": "Oe", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "\u0131": "i",
})  # fmt: skip


def safe_names(names: Iterable[str]) -> dict[str, Category]:
    """Return a unique safe name for each name."""
    names = list(dict.fromkeys(names))
    safe = {name: safe_name(name) for name in names}
    often = Counter(safe.values())
    return {
        name: slug if slug == name or often[slug] == 1 else _marked(slug, name)
        for name, slug in safe.items()
    }


def safe_name(name: str) -> Category:
    """Return the safe name; the module's docstring has the rules."""
    if re.fullmatch(NAME_PATTERN[1:-1], name):
        return name
    written = unicodedata.normalize("NFC", name).translate(_WRITTEN_OUT)
    apart = unicodedata.normalize("NFKD", written)
    plain = "".join(c for c in apart if unicodedata.category(c) != "Mn")
    lost = any(not c.isascii() and (c.isalnum() or _is_byte(c)) for c in plain)
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-._")
    return _marked(slug, name) if lost or not slug or len(slug) > _LONGEST else slug


def _marked(slug: str, name: str) -> str:
    digits = hashlib.sha256(
        unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    ).hexdigest()[:8]
    return f"{slug[: _LONGEST - 9] or 'category'}-{digits}"


def _is_byte(character: str) -> bool:
    """Whether the character is a surrogate escape for a byte that is not UTF-8."""
    return unicodedata.category(character) == "Cs"
