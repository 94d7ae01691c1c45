"""Structured logs: one JSON object per line."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

FIELDS = "fields"
"""Key in a call's `extra` whose mapping becomes members of the line."""


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON: time, level, logger, message, and its `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception's traceback becomes the member `exception`."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send every logger's lines to `stream` (stderr by default); for a program, not a library."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
