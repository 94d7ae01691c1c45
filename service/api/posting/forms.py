"""Reads a multipart form in pieces: text fields, and files in memory.

    form = await read_form(request, FormLimits(max_file_bytes=2**20, max_files=64, ...))
    form.fields["category"], form.files[0].content

Texts must be UTF-8: some codecs need time quadratic in the length of the text.
"""

import asyncio
import email.message
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from service.api.charsets import check_charset, check_charset_name
from service.api.limits import limited
from service.errors import InvalidRequest, MalformedBody
from service.inspection.images.sources import Upload

if TYPE_CHECKING:  # the name exists only for type checkers
    from python_multipart.multipart import MultipartCallbacks

MAX_FILENAME = 1024
FILE = "file"
_CHARSET = "_charset_"
_MAX_PART_HEADER_BYTES = 8192
_AT_ONCE = 256 * 2**10
_MAX_UNKNOWN = 10

# Charsets of file names; some of Python's other codecs take a minute for a megabyte.
_NAME_CHARSETS = {"utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"}
_EXTENDED = re.compile(r"(?i:[;\s]filename\*)|=\?")


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Limits of a form. `field_bytes` maps the allowed fields to their maximum length."""

    max_bytes: int
    max_file_bytes: int
    max_files: int
    field_bytes: Mapping[str, int]


@dataclass(slots=True)
class Form:
    """A form's texts by field name, and its files in order."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[Upload] = field(default_factory=list)


@dataclass(slots=True)
class _Part:
    """A part that is being read; `name` is empty until its headers are complete."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    header_bytes: int = 0
    name: str = ""
    filename: str | None = None
    content: bytearray = field(default_factory=bytearray)
    max_bytes: int = 0


async def read_form(request: Request, limits: FormLimits) -> Form:
    """Read a request's form.

    Raises `MalformedBody`, `UnsupportedCharset`, `BodyTooLarge`, `InvalidRequest` for unknown or
    contradicting fields, or Starlette's `ClientDisconnect`.
    """
    bounded = limited(request, limits.max_bytes)
    return await _parsed(bounded.headers.get("content-type", ""), bounded.stream(), limits)


async def _parsed(content_type: str, pieces: AsyncIterator[bytes], limits: FormLimits) -> Form:
    check_charset(content_type, "form")
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedBody("the form cannot be read: its Content-Type has no boundary")
    reader = _Reader(limits)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        async for piece in pieces:
            for start in range(0, len(piece), _AT_ONCE):
                parser.write(piece[start : start + _AT_ONCE])
                if start:  # a piece may inflate to a large one: let other requests run
                    await asyncio.sleep(0)
        parser.finalize()
    except FormParserError as error:
        raise MalformedBody(f"the form cannot be read: {str(error)[:200]}") from error
    return reader.finish()


class _Reader:
    """Builds a form from the parser's callbacks."""

    def __init__(self, limits: FormLimits) -> None:
        self._limits = limits
        self._form = Form()
        self._unknown: list[str] = []
        self._part = _Part()
        self._name = self._value = b""
        self._texts = 0

    def callbacks(self) -> "MultipartCallbacks":
        """Return the methods by the parser's callback names."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._take_name,
            "on_header_value": self._take_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take_content,
            "on_part_end": self._end,
        }

    def finish(self) -> Form:
        """Return the form. Raises `InvalidRequest` for unknown fields."""
        if self._unknown:
            expected = ", ".join([FILE, *self._limits.field_bytes])
            raise InvalidRequest(
                f"unknown form field(s) {', '.join(self._unknown)}; expected: {expected}"
            )
        return self._form

    def _begin(self) -> None:
        self._part = _Part()

    def _take_name(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._name += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, count: int) -> None:
        self._part.header_bytes += count
        if self._part.header_bytes > _MAX_PART_HEADER_BYTES:
            raise MalformedBody(
                f"the headers of a form's part may have {_MAX_PART_HEADER_BYTES} bytes, got more"
            )

    def _end_header(self) -> None:
        self._part.headers.append((self._name.lower(), self._value.strip()))
        self._name = self._value = b""

    def _end_headers(self) -> None:
        part, headers = self._part, dict(self._part.headers)
        disposition = headers.get(b"content-disposition", b"")
        options = parse_options_header(disposition)[1]
        if b"name" not in options:
            raise MalformedBody(
                'the form cannot be read: a part\'s Content-Disposition has no "name"'
            )
        part.name = _utf8_or_latin1(options[b"name"])
        part.filename = filename_of(disposition, options.get(b"filename"))
        if part.filename is None:
            check_charset(headers.get(b"content-type", b"").decode("latin-1"), "form field")
            self._begin_text(part)
        else:
            self._begin_file(part)

    def _begin_text(self, part: _Part) -> None:
        self._texts += 1
        most = 2 * len(self._limits.field_bytes)
        if self._texts > most:
            raise MalformedBody(f"the form cannot be read: it may have {most} fields, got more")
        if part.name == FILE:
            raise InvalidRequest(
                'no image: the form field "file" has no filename; expected a file with a filename'
            )
        if part.name == _CHARSET:
            part.max_bytes = MAX_FILENAME
        elif part.name in self._limits.field_bytes:
            part.max_bytes = self._limits.field_bytes[part.name]
        else:
            self._note_unknown(part)

    def _note_unknown(self, part: _Part) -> None:
        """Remember the name for the error; the part's content is dropped."""
        if len(self._unknown) < _MAX_UNKNOWN:
            self._unknown.append(repr(part.name[:50]))

    def _begin_file(self, part: _Part) -> None:
        if part.name in self._limits.field_bytes:
            raise InvalidRequest(f"the form field {part.name!r} is a file; expected text")
        if len(self._form.files) >= self._limits.max_files:
            raise MalformedBody(
                f"the form cannot be read: it may have {self._limits.max_files} files, got more"
            )
        if part.name == FILE:
            # With one byte more than allowed, `decoding` refuses it.
            part.max_bytes = self._limits.max_file_bytes + 1
        else:
            self._note_unknown(part)

    def _take_content(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        room = part.max_bytes - len(part.content)
        if part.filename is None and part.max_bytes and end - start > room:
            raise InvalidRequest(
                f"the form field {part.name[:50]!r} may have {part.max_bytes} bytes, got more"
            )
        if room > 0:
            part.content += data[start : min(end, start + room)]

    def _end(self) -> None:
        part = self._part
        if part.filename is not None:
            self._form.files.append(Upload(part.filename or None, bytes(part.content)))
            return
        try:
            text = part.content.decode()
        except UnicodeDecodeError as error:
            raise MalformedBody(
                f"the form field {part.name[:50]!r} is not UTF-8: {error.reason}"
            ) from error
        if part.name == _CHARSET:
            check_charset_name(text, "form")
        elif self._form.fields.setdefault(part.name, text) != text:
            first = self._form.fields[part.name]
            raise InvalidRequest(
                f"the form field {part.name!r} occurs twice, as {first[:50]!r} and "
                f"{text[:50]!r}: expected it once"
            )


def filename_of(disposition: bytes, plain: bytes | None) -> str | None:
    """Return the file name of a Content-Disposition, or None.

    `plain` is its parameter `filename`, which `filename*` (RFC 8187) overrides; encoded words
    (RFC 2047) are decoded. The name is never used as a path. Raises `InvalidRequest`.
    """
    name = None if plain is None else _utf8_or_latin1(plain)
    text = _utf8_or_latin1(disposition)
    if _EXTENDED.search(text):
        extended = _extended_name(text)
        name = _decoded_words(name) if extended is None and name is not None else extended
    if name is not None and len(name) > MAX_FILENAME:
        raise InvalidRequest(f"a filename may have {MAX_FILENAME} characters, got {len(name)}")
    return name


def _extended_name(disposition: str) -> str | None:
    message = email.message.Message()
    message["Content-Disposition"] = disposition
    for parameter, value in message.get_params([], "Content-Disposition"):
        # A name with a charset is a tuple.
        if parameter.lower() == "filename" and isinstance(value, tuple):
            charset, _, name = value
            content = name.encode("latin-1", "replace")
            return _in_charset(content, charset or "utf-8") or _utf8_or_latin1(content)
    return None


def _decoded_words(name: str) -> str:
    try:
        words = decode_header(name)
    except (HeaderParseError, ValueError):
        return name
    texts = [
        word if isinstance(word, str) else _in_charset(word, charset or "us-ascii")
        for word, charset in words
    ]
    return name if None in texts else "".join(map(str, texts)) or name


def _in_charset(content: bytes, charset: str) -> str | None:
    """Decode a name; None for a charset that is not allowed."""
    if charset.lower() not in _NAME_CHARSETS:
        return None
    return content.decode(charset, "replace")


def _utf8_or_latin1(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
