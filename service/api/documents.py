"""JSON that a client sent, read within bounds of memory and time.

    document = read_json(body, JsonBounds(max_bytes=65_536, max_values=1000))
    asked = build(DetectBody, document.value, "body")
    document.long_text(asked.images[0].content)

The JSON parser holds Python's lock from the first byte to the last, so the silence of everything
else is bounded by counting first. Long strings, which are images, are not parsed at all: each is
cut out, and read from the body where it is used.
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
"""A longer body is read in a thread, and not on the event loop."""

_MAX_DIGITS = 300
"""No number needs more; the parser's time grows with the square of the digits."""

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
    """How much JSON a body may hold; long strings count for nothing in it.

    `max_members` bounds the members of all objects together, `max_values` all commas, arrays and
    objects. `instead` tells the client what to do.
    """

    max_bytes: int
    max_values: int
    max_members: int
    instead: str = ""

    @property
    def max_quotes(self) -> int:
        """A member has a name, and perhaps a string for a value; arrays may have some more."""
        return 8 * self.max_members

    def refuse(self, content: bytes, count: int, of: str) -> NoReturn:
        """Raise `BodyTooLarge` for more than `count`, or `MalformedBody` for what is no JSON."""
        beginning = content[:_BEGINNING_BYTES].strip()
        try:
            from_json(beginning or b"0", allow_partial="trailing-strings")
        except ValueError as error:
            raise MalformedBody(f"the JSON cannot be read: {error}") from error
        end = f": {self.instead}" if self.instead else ""
        raise BodyTooLarge(f"the JSON may have {count} {of}, and has more{end}")


@dataclass(slots=True)
class Document:
    """A JSON document: its value, and where in `content` the long strings are.

    In place of a long string the value has a short one, which `long_text` takes.
    """

    value: Any
    content: bytes = b""
    long: dict[str, tuple[int, int]] = field(default_factory=dict)

    def long_text(self, text: str, max_bytes: int = 2**63) -> Text:
        """Return the string that stands at a place of the value, as bytes.

        One that would be longer than `max_bytes` in any case is left as it is written.
        """
        if text not in self.long:
            return text.encode()
        start, end = self.long.pop(text)
        # Of two bytes at most one is there to escape the other; base64 needs no other escapes.
        is_short = end - start <= 2 * max_bytes
        if is_short and self.content.find(b"\\", start, end) >= 0:
            return _unescaped(self.content, start, end)
        return memoryview(self.content)[start:end]

    def close(self) -> None:
        """Raise `BodyTooLarge` for a long string where none may stand."""
        for start, end in self.long.values():
            raise BodyTooLarge(
                f"the JSON has a string of {end - start} bytes; only the content of an image may "
                f"have more than {_LONG_BYTES}"
            )


def read_json(
    content: bytes, bounds: JsonBounds, where: str = "body", *, allow_inf_nan: bool = True
) -> Document:
    """Read JSON. Raises `MalformedBody` for what is none, `BodyTooLarge` beyond the bounds.

    `allow_inf_nan` takes Python's NaN and Infinity, which JSON does not have.
    """
    short, long = content, dict[str, tuple[int, int]]()
    if len(content) > _SHORT_BYTES:
        short, long = _without_long_strings(content, bounds)
        _check(short, bounds)
    try:
        return Document(from_json(short, allow_inf_nan=allow_inf_nan), content, long)
    except ValueError as error:
        uncounted = ", long strings not counted" if long else ""
        raise MalformedBody(f"the {where} is no JSON: {error}{uncounted}") from error


def build(model: type[Model], value: object, where: str) -> Model:
    """Return the value as a model. Raises `RequestValidationError` with names of bounded length."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise RequestValidationError(faults_of(error, where)) from error


def faults_of(error: ValidationError, *where: str) -> list[dict[str, Any]]:
    """Return what is wrong, and where, without repeating the client's values."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return [{**fault, "loc": (*where, *map(_short, fault["loc"]))} for fault in faults]


def _short(name: int | str) -> int | str:
    return name if isinstance(name, int) else name[:_MAX_NAME]


def _check(content: bytes, bounds: JsonBounds) -> None:
    """Raise `BodyTooLarge` for what the parser would be too long at."""
    if len(content) > bounds.max_bytes:
        bounds.refuse(content, bounds.max_bytes, "bytes beside its images")
    if sum(content.count(sign) for sign in (b",", b"[", b"{")) > bounds.max_values:
        bounds.refuse(content, bounds.max_values, "values")
    if content.count(b":") > bounds.max_members:
        bounds.refuse(content, bounds.max_members, "members")
    if _ENDLESS in content.translate(_DIGITS):
        raise MalformedBody(f"the JSON has a number of more than {_MAX_DIGITS} digits")


def _without_long_strings(
    content: bytes, bounds: JsonBounds
) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Return the JSON with a short string in place of each long one, and where those are."""
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
        bounds.refuse(content, bounds.max_bytes, "bytes beside its images")
    return b"".join([*pieces, content[copied_to:]]), long


def _strings(content: bytes, bounds: JsonBounds) -> Iterator[tuple[int, int]]:
    """Yield where each string begins, behind its quote, and where its closing quote stands."""
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
    """Return whether an odd number of backslashes stands before a quote."""
    start = quote
    while start and content[start - 1] == _BACKSLASH:
        piece = content[max(0, start - _LONG_BYTES) : start]
        start -= len(piece) - len(piece.rstrip(b"\\"))
    return (quote - start) % 2 == 1


def _unescaped(content: bytes, start: int, end: int) -> bytes:
    """Return a string as it is meant: PHP escapes slashes of base64, and .NET its plus signs."""
    pieces = []
    while start < end:
        whole = _WHOLE_ESCAPES.match(content, start, min(end, start + _AT_ONCE))
        assert whole is not None
        if not whole[0]:
            break  # half an escape
        try:
            piece: str = from_json(b'"%b"' % whole[0])
        except ValueError:
            break  # no JSON, and no base64 either: whoever decodes it says so
        pieces.append(piece.encode())
        start = whole.end()
    return b"".join([*pieces, content[start:end]])


def media_type_of(content_type: str) -> str:
    """Return a Content-Type without its parameters."""
    return content_type.partition(";")[0].strip().lower()
