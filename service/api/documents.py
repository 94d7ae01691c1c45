"""Reads a client's JSON within bounds of memory and time.

    document = read_json(body, JsonBounds(max_bytes=65_536, max_values=1000))
    asked = build(DetectBody, document.value, "body")
    document.long_text(asked.images[0].content)

The JSON parser holds Python's lock all the time, so bytes, values and members are counted first to
bound how long everything else stops. Long strings, which are images, are never parsed: they are cut
out, and read from the body when they are used.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from service.errors import BodyTooLarge, MalformedBody

Model = TypeVar("Model", bound=BaseModel)
Text: TypeAlias = bytes | memoryview
"""A text in UTF-8, or a part of a body that should be one."""

LONG_JSON_BYTES = 512 * 2**10
"""A longer body is parsed in a thread instead of on the event loop."""

_MAX_DIGITS = 300
"""The parser's time is quadratic in the number of digits; no number needs more."""

_LONG_BYTES = 4096
_SHORT_BYTES = 16 * 2**10
_AT_ONCE = 8 * 2**20
_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_ENDLESS = b"0" * (_MAX_DIGITS + 1)
_MAX_NAME = 100
_BEGINNING_BYTES = 64 * 2**10
_BACKSLASH = ord("\\")
_WHOLE_ESCAPES = re.compile(rb"(?:[^\\]++|\\u[0-9A-Fa-f]{4}|\\[^u])*+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class JsonBounds:
    """Bounds of the JSON in a body, without its long strings.

    `max_members` bounds the members of all objects together, `max_values` all commas, arrays and
    objects. `instead` is the advice in the error.
    """

    max_bytes: int
    max_values: int
    max_members: int
    instead: str = ""

    @property
    def max_quotes(self) -> int:
        """Quotes of each member's name and string value, and some for arrays."""
        return 8 * self.max_members

    def refuse(self, content: bytes, count: int, of: str) -> NoReturn:
        """Raise `MalformedBody` if the beginning is not JSON, else `BodyTooLarge`."""
        beginning = content[:_BEGINNING_BYTES].strip()
        try:
            from_json(beginning or b"0", allow_partial="trailing-strings")
        except ValueError as error:
            raise MalformedBody(f"the JSON cannot be read: {error}") from error
        end = f": {self.instead}" if self.instead else ""
        raise BodyTooLarge(f"the JSON may have {count} {of}, got more{end}")


@dataclass(slots=True)
class Document:
    """A JSON document: its value, and the positions of long strings in `content`.

    The value has a short placeholder for each long string; `long_text` resolves it.
    """

    value: Any
    content: bytes = b""
    long: dict[str, tuple[int, int]] = field(default_factory=dict)

    def long_text(self, text: str, max_bytes: int = 2**63) -> Text:
        """Return a string of the value as bytes; resolve it if it is a placeholder.

        A string that is certainly longer than `max_bytes` is not unescaped.
        """
        if text not in self.long:
            return text.encode()
        start, end = self.long.pop(text)
        # Escapes at most double the length of base64.
        is_short = end - start <= 2 * max_bytes
        if is_short and self.content.find(b"\\", start, end) >= 0:
            return _unescaped(self.content, start, end)
        return memoryview(self.content)[start:end]

    def close(self) -> None:
        """Raise `BodyTooLarge` for a long string that `long_text` did not take."""
        for start, end in self.long.values():
            raise BodyTooLarge(
                f"the JSON has a string of {end - start} bytes; only the content of an image may "
                f"have more than {_LONG_BYTES}"
            )


def read_json(
    content: bytes, bounds: JsonBounds, where: str = "body", *, allow_inf_nan: bool = True
) -> Document:
    """Read JSON. Raises `MalformedBody`, or `BodyTooLarge` beyond the bounds.

    `allow_inf_nan` allows Python's NaN and Infinity, which are not JSON.
    """
    short, long = content, dict[str, tuple[int, int]]()
    if len(content) > _SHORT_BYTES:
        short, long = _without_long_strings(content, bounds)
        _check(short, bounds)
    try:
        return Document(from_json(short, allow_inf_nan=allow_inf_nan), content, long)
    except ValueError as error:
        uncounted = ", long strings not counted" if long else ""
        raise MalformedBody(f"the {where} is not valid JSON: {error}{uncounted}") from error


def build(model: type[Model], value: object, where: str) -> Model:
    """Return the value as a model. Raises `RequestValidationError` with shortened names."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise RequestValidationError(faults_of(error, where)) from error


def faults_of(error: ValidationError, *where: str) -> list[dict[str, Any]]:
    """Return the faults and their places, without the client's values."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return [{**fault, "loc": (*where, *map(_short, fault["loc"]))} for fault in faults]


def _short(name: int | str) -> int | str:
    return name if isinstance(name, int) else name[:_MAX_NAME]


def _check(content: bytes, bounds: JsonBounds) -> None:
    """Raise `BodyTooLarge` if parsing would take too long."""
    if len(content) > bounds.max_bytes:
        bounds.refuse(content, bounds.max_bytes, "bytes besides its images")
    if sum(content.count(sign) for sign in (b",", b"[", b"{")) > bounds.max_values:
        bounds.refuse(content, bounds.max_values, "values")
    if content.count(b":") > bounds.max_members:
        bounds.refuse(content, bounds.max_members, "members")
    if _ENDLESS in content.translate(_DIGITS):
        raise MalformedBody(f"the JSON has a number of more than {_MAX_DIGITS} digits")


def _without_long_strings(
    content: bytes, bounds: JsonBounds
) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Return the JSON with placeholders for its long strings, and the positions of those."""
    long: dict[str, tuple[int, int]] = {}
    pieces: list[bytes] = []
    size = copied_to = 0
    for start, end in _strings(content, bounds):
        if end - start <= _LONG_BYTES:
            continue
        name = f"a string of {end - start} bytes, #{len(long)}"
        long[name] = (start, end)
        size += start - copied_to
        if size > bounds.max_bytes:
            break
        pieces += [content[copied_to:start], name.encode()]
        copied_to = end
    if not long:
        return content, long
    if size + len(content) - copied_to > bounds.max_bytes:
        bounds.refuse(content, bounds.max_bytes, "bytes besides its images")
    return b"".join([*pieces, content[copied_to:]]), long


def _strings(content: bytes, bounds: JsonBounds) -> Iterator[tuple[int, int]]:
    """Yield the positions after each string's opening quote and of its closing quote."""
    starts = range(0, len(content), _AT_ONCE)
    if sum(content.count(b'"', start, start + _AT_ONCE) for start in starts) > bounds.max_quotes:
        bounds.refuse(content, bounds.max_quotes, "quotation marks")
    start = content.find(b'"')
    while start >= 0:
        end = content.find(b'"', start + 1)
        while end >= 0 and _is_escaped(content, end):
            end = content.find(b'"', end + 1)
        if end < 0:
            return
        yield start + 1, end
        start = content.find(b'"', end + 1)


def _is_escaped(content: bytes, quote: int) -> bool:
    """Return whether an odd number of backslashes precedes a quote."""
    start = quote
    while start and content[start - 1] == _BACKSLASH:
        piece = content[max(0, start - _LONG_BYTES) : start]
        start -= len(piece) - len(piece.rstrip(b"\\"))
    return (quote - start) % 2 == 1


def _unescaped(content: bytes, start: int, end: int) -> bytes:
    """Return a string without escapes: PHP escapes the slashes of base64, .NET its plus signs."""
    pieces = []
    while start < end:
        match = _WHOLE_ESCAPES.match(content, start, min(end, start + _AT_ONCE))
        assert match is not None
        if not match[0]:
            break  # half an escape
        try:
            piece: str = from_json(b'"%b"' % match[0])
        except ValueError:
            break  # neither JSON nor base64: the base64 decoder will refuse it
        pieces.append(piece.encode())
        start = match.end()
    return b"".join([*pieces, content[start:end]])


def media_type_of(content_type: str) -> str:
    """Return a Content-Type without its parameters."""
    return content_type.partition(";")[0].strip().lower()
