"""The count behind `make soak-delivery`: it finds what is missing, wrong, or out of order."""

import json
import os
from types import SimpleNamespace

from benchmarks.delivering.count import _of_messages, holds, latencies, read_folder
from benchmarks.delivering.line import Answer

ANSWERS = {
    "a": Answer(0.0, 0.010, "OK", 1),
    "b": Answer(1.0, 0.030, "NG", 1),
    "c": Answer(2.0, 9.0, "NG", 4),
}
LINE = SimpleNamespace(answers=ANSWERS)


def message(identifier: str, decision: str, number: int, station: str = "press 1") -> dict:
    return {
        "event_id": identifier, "inspection_id": identifier, "number": number,
        "station": station, "told": {"decision": decision},
    }  # fmt: skip


GOOD = [message("a", "OK", 1), message("b", "NG", 2), message("b", "NG", 2), message("c", "NG", 3)]


def test_everything_in_order_with_repeats_holds():
    counted = _of_messages(GOOD, LINE)
    assert counted == {
        "delivered": 3, "answered": 3, "missing": 0, "differs": 0, "repeats": 1, "out_of_order": 0,
    }  # fmt: skip
    assert holds({"broker": counted}, {"broker": 12.0})


def test_what_is_missing_wrong_or_out_of_order_is_found():
    wrong = [message("b", "OK", 2), message("a", "OK", 1)]
    counted = _of_messages(wrong, LINE)
    assert (counted["missing"], counted["differs"], counted["out_of_order"]) == (1, 1, 1)
    for name in ("missing", "differs", "out_of_order"):
        assert not holds({"broker": _of_messages(GOOD, LINE) | {name: 1}}, {"broker": 12.0})
    assert not holds({"broker": _of_messages(GOOD, LINE)}, {})


def test_order_is_for_each_station():
    counted = _of_messages([message("b", "NG", 2, "press 2"), message("a", "OK", 1)], LINE)
    assert counted["out_of_order"] == 0


def test_latencies_are_of_answers_at_the_first_try():
    assert latencies(list(ANSWERS.values())) == {"answers": 2, "median_ms": 20.0, "p99_ms": 29.8}
    assert latencies([]) == {}


def test_a_folder_is_read_in_the_order_of_its_files(tmp_path):
    for at, name in enumerate(["2026_line-1_9.jsonl", "2026_line-1_10.jsonl"]):
        (tmp_path / name).write_text(json.dumps({"number": at}) + "\n", "utf-8")
        os.utime(tmp_path / name, (at, at))
    (tmp_path / "2026_line-1_11.jsonl.part").write_text("{", "utf-8")
    assert [line["number"] for line in read_folder(tmp_path)] == [0, 1]
