"""Structured logs: one JSON object per line, or text for terminals.

`service.http.request_log` writes one line per request. `note` and `note_image` add members to it:
never image bytes, headers, query strings or keys.

A logger's name is a literal, `service.` and a word, so that it survives a move of its module.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

FIELDS = "fields"
"""Key in a logging call's `extra`; its mapping becomes members of the line."""

MAX_TEXT = 1000
"""Longest text in a line, in characters; longer texts are cut."""

_MAX_IMAGES = 16
_ALWAYS = ("time", "level", "logger", "message")

_to_json = json.JSONEncoder(default=str).encode
"""Made once: `json.dumps` makes an encoder for each call that is not plain."""

_notes: ContextVar[dict[str, Any] | None] = ContextVar("notes", default=None)


def members(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Return notes as members of a line; the members of a single image move to the top level."""
    if notes.get("image_count") != 1:
        return dict(notes)
    of_request = {name: value for name, value in notes.items() if not name.startswith("image")}
    return {**notes["images"][0], **of_request}


@contextmanager
def taking_notes() -> Iterator[dict[str, Any]]:
    """Collect the fields of `note` and `note_image` in this context and in tasks started in it."""
    notes: dict[str, Any] = {}
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def note(**fields: object) -> None:
    """Add members to the current request's line; do nothing outside a request."""
    notes = _notes.get()
    if notes is not None:
        notes.update(fields)


def note_image(**fields: object) -> None:
    """Add one image's result to the current request's line, for its first 16 images."""
    notes = _notes.get()
    if notes is None:
        return
    images = notes.setdefault("images", [])
    notes["image_count"] = notes.get("image_count", 0) + 1
    if len(images) < _MAX_IMAGES:
        images.append(fields)


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON: time, level, logger, message, and its `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception's traceback becomes the member `exception`."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _to_json(line)


class TextFormatter(logging.Formatter):
    """A log record for people: time, level, logger, message, `name=value`; tracebacks below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; unprintable characters are escaped, so that no text can forge a line."""
        fields = (f"{name}={_value(value)}" for name, value in _fields(record).items())
        head = f"{_time(record)} {record.levelname:<7} {record.name}:"
        line = " ".join([head, _printable(record.getMessage()), *fields])
        if not record.exc_info:
            return line
        traceback = self.formatException(record.exc_info).splitlines()
        return "\n".join([line, *(f"    | {_printable(part)}" for part in traceback)])


_FORMATTERS: Mapping[str, type[logging.Formatter]] = {"json": JsonFormatter, "text": TextFormatter}


def configure_logging(level: str, form: str = "json", stream: TextIO | None = None) -> None:
    """Send every logger's lines to `stream` (default: stderr)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_FORMATTERS[form]())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record's fields without those that would replace the line's fixed members."""
    fields: Mapping[str, Any] = getattr(record, FIELDS, {})
    return {name: _shortened(value) for name, value in fields.items() if name not in _ALWAYS}


def _shortened(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[:MAX_TEXT]}..."
    if isinstance(value, dict):
        return {name: _shortened(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_shortened(member) for member in value]
    return value


def _value(value: object) -> str:
    """Format a field's value: a printable word as is, anything else as JSON."""
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(' "='):
        return value
    return _to_json(value)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
