"""The message: its schema, and that every event's message is valid by it."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import jsonschema
import pytest

from model.inspection import Decision
from service.archive.identifiers import new_id
from service.archive.records import DecisionSource, Event, EventKind, Verdict
from service.delivery.message import MessageMaker
from service.inspection.submission import Origin
from tests.service.delivery.journals import NODE, inspection
from tests.service.delivery.message_schema import PAGE, schema

NOW = datetime(2026, 11, 29, 23, 5, 1, 250_000, tzinfo=UTC)
MAKER = MessageMaker("Plant 2", NODE)
VALIDATOR = jsonschema.Draft202012Validator(
    json.loads(PAGE.read_text("utf-8")), format_checker=jsonschema.FormatChecker()
)
SPARSE = dict.fromkeys(
    [
        "captured_at", "part_id", "station", "job_id", "meta", "found", "score", "raw_score",
        "threshold", "review_threshold", "model_name", "model_version", "model_sha256",
        "calibration_version",
    ]
)  # fmt: skip


def event(kind=EventKind.INSPECTION, payload=None, **changes) -> Event:
    identifier = new_id()
    made = Event(7, identifier, identifier, kind, NOW, "press 1", 3, Origin.LINE, payload)
    return replace(made, **changes)


VERDICT = {"verdict": "good", "author": "Ada", "at": NOW.isoformat(), "comment": "a scratch"}
HOLD = {"is_held": True, "author": "Ada", "at": NOW.isoformat(), "reason": "complaint"}
CASES = {
    "complete": (event(), inspection()),
    "sparse": (event(station=None), inspection(**SPARSE, views=())),
    "refused": (
        event(),
        inspection(
            told=Decision.UNDECIDED, source=DecisionSource.FAIL_SAFE, found=None, fail_safe="NG",
            problem="queue-full", problem_detail="128 images wait", repeats=40, views=(),
        ),
    ),
    "update": (event(EventKind.UPDATE), inspection(origin=Origin.LATE)),
    "verdict": (event(EventKind.VERDICT, VERDICT), inspection(verdict=Verdict.GOOD)),
    "hold": (event(EventKind.HOLD, HOLD), inspection(is_held=True)),
    "verdict without its inspection": (event(EventKind.VERDICT, VERDICT), None),
    "odd names": (event(station="'; drop table \U0001f527"), inspection(category='"\n\\')),
}  # fmt: skip


def test_the_schema_in_the_docs_is_current():
    assert json.loads(PAGE.read_text("utf-8")) == schema(), (
        "run python -m tests.service.delivery.message_schema"
    )


@pytest.mark.parametrize("case", CASES)
def test_every_message_is_valid(case):
    body = MAKER.make(*CASES[case]).to_json()
    assert b"\n" not in body
    VALIDATOR.validate(json.loads(body))


def test_the_schema_refuses_what_is_no_message():
    good = json.loads(MAKER.make(*CASES["complete"]).to_json())
    for wrong in ({"message_version": 2}, {"told": {}}, {"number": "7"}, {"kind": "other"}):
        assert list(VALIDATOR.iter_errors({**good, **wrong}))
    assert list(VALIDATOR.iter_errors({k: v for k, v in good.items() if k != "event_id"}))


def test_a_message_says_what_was_told_and_what_was_found():
    told = inspection(
        told=Decision.OK, told_reason="no time", source=DecisionSource.CLIENT, found=Decision.NG
    )
    of_event = event(inspection_id=told.inspection_id, event_id=told.inspection_id)
    message = json.loads(MAKER.make(of_event, told).to_json())
    assert message["told"] == {"decision": "OK", "source": "client", "reason": "no time"}
    assert message["found"] == "NG"
    assert message["event_id"] == message["inspection_id"] == str(told.inspection_id)
    assert (message["site"], message["node"], message["number"]) == ("Plant 2", NODE, 7)
    assert (message["station"], message["station_number"]) == ("press 1", 3)
    assert message["at"] == "2026-11-29T23:05:01.250000Z"
    assert message["views"][0]["image"] == {"sha256": "ab" * 32, "state": "kept"}
    assert message["model"]["sha256"] == "cd" * 32


def test_a_judgement_comes_with_its_author_and_its_inspection():
    message = MAKER.make(*CASES["verdict"])
    assert (message.verdict.verdict, message.verdict.author) == (Verdict.GOOD, "Ada")
    assert (message.hold, message.category) == (None, "bolt")
    alone = MAKER.make(*CASES["verdict without its inspection"])
    assert (alone.verdict.comment, alone.told, alone.views) == ("a scratch", None, [])
