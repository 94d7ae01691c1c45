"""One JSON object per line."""

import io
import json
import logging

import pytest

from service.telemetry.logs import (
    FIELDS,
    MAX_TEXT,
    JsonFormatter,
    configure_logging,
    members,
    note,
    note_image,
    taking_notes,
)


@pytest.fixture
def stream():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:], level = before
    root.setLevel(level)


def test_a_line_holds_the_record_and_its_fields(stream):
    configure_logging("INFO", stream=stream)
    logging.getLogger("a.b").info("hello %s", "world\n", extra={FIELDS: {"status": 200}})
    logging.getLogger("a.b").debug("unheard")
    (line,) = stream.getvalue().splitlines()
    written = json.loads(line)
    assert written["message"] == "hello world\n"
    assert (written["level"], written["logger"], written["status"]) == ("INFO", "a.b", 200)
    assert written["time"].endswith("+00:00")


def test_an_exception_stays_on_its_line(stream):
    configure_logging("ERROR", stream=stream)
    logging.getLogger().error("failed", exc_info=ValueError("bad"))
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: bad" in json.loads(line)["exception"]


def test_what_json_cannot_hold_is_written_as_text():
    record = logging.makeLogRecord({"msg": "x", FIELDS: {"path": io.StringIO}})
    assert json.loads(JsonFormatter().format(record))["path"].startswith("<class")


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_text_forges_a_line(stream, form):
    forged = 'x\n2026-01-01 INFO service.access: paid="yes"\r\x1b[2J\u2028end'
    configure_logging("INFO", form, stream)
    logging.getLogger("a").info("got %s", forged, extra={FIELDS: {"part_id": forged}})
    (line,) = stream.getvalue().rstrip("\n").splitlines()
    assert "\x1b" not in line
    if form == "json":
        assert json.loads(line)["part_id"] == forged


def test_text_is_one_readable_line_with_the_traceback_below(stream):
    configure_logging("INFO", "text", stream)
    fields = {"status": 200, "path": "/detect", "note": "two words", "none": None}
    logging.getLogger("a").info("POST /detect", extra={FIELDS: fields})
    logging.getLogger("a").error("failed", exc_info=ValueError("bad\nINFO all is well"))
    first, *following = stream.getvalue().splitlines()
    ending = 'INFO    a: POST /detect status=200 path=/detect note="two words" none=null'
    assert first.endswith(ending)
    assert "ERROR   a: failed" in following[0]
    assert following[1:]
    assert all(line.startswith("    | ") for line in following[1:])


def test_fields_never_stand_in_for_the_lines_own_members():
    record = logging.makeLogRecord({"msg": "real", FIELDS: {"message": "forged", "level": "x"}})
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["level"]) == ("real", "Level None")


def test_long_texts_are_cut():
    record = logging.makeLogRecord({"msg": "", FIELDS: {"images": [{"part_id": "x" * 5000}]}})
    (image,) = json.loads(JsonFormatter().format(record))["images"]
    assert len(image["part_id"]) == MAX_TEXT + 3


def test_notes_belong_to_their_request():
    note(lost=True)
    note_image(lost=True)
    with taking_notes() as first:
        note(trace_id="1")
        with taking_notes() as second:
            note_image(category="bolt")
        note_image(category="nut")
    assert first == {"trace_id": "1", "images": [{"category": "nut"}], "image_count": 1}
    assert second == {"images": [{"category": "bolt"}], "image_count": 1}


def test_a_request_with_many_images_keeps_a_line_that_can_be_read():
    with taking_notes() as notes:
        for number in range(1000):
            note_image(part_id=str(number))
    assert notes["image_count"] == 1000
    assert len(notes["images"]) < 20


def test_a_single_images_notes_are_the_lines_own():
    with taking_notes() as notes:
        note(problem="queue-full")
        note_image(category="bolt", problem="other")
    assert members(notes) == {"category": "bolt", "problem": "queue-full"}
    with taking_notes() as notes:
        note_image(category="bolt")
        note_image(category="nut")
    assert members(notes)["image_count"] == 2
    assert members({}) == {}
