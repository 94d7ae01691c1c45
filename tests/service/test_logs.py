"""One JSON object per line."""

import io
import json
import logging

import pytest

from service.logs import FIELDS, JsonFormatter, configure_logging


@pytest.fixture
def stream():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:], level = before
    root.setLevel(level)


def test_a_line_holds_the_record_and_its_fields(stream):
    configure_logging("INFO", stream)
    logging.getLogger("a.b").info("hello %s", "world\n", extra={FIELDS: {"status": 200}})
    logging.getLogger("a.b").debug("unheard")
    (line,) = stream.getvalue().splitlines()
    written = json.loads(line)
    assert written["message"] == "hello world\n"
    assert (written["level"], written["logger"], written["status"]) == ("INFO", "a.b", 200)
    assert written["time"].endswith("+00:00")


def test_an_exception_stays_on_its_line(stream):
    configure_logging("ERROR", stream)
    logging.getLogger().error("failed", exc_info=ValueError("bad"))
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: bad" in json.loads(line)["exception"]


def test_what_json_cannot_hold_is_written_as_text():
    record = logging.makeLogRecord({"msg": "x", FIELDS: {"path": io.StringIO}})
    assert json.loads(JsonFormatter().format(record))["path"].startswith("<class")
