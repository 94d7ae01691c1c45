"""Searching and judging over HTTP: queries, cursors, scopes, and what is refused."""

from datetime import timedelta
from urllib.parse import quote

import pytest
from sqlalchemy import delete, select

from model.inspection import Decision
from service.api.inspections import openapi
from service.api.inspections.schemas import InspectionAnswer, PageAnswer
from service.api.inspections.summaries import SummaryAnswer
from service.archive.identifiers import new_id
from service.archive.records import DecisionSource, Verdict, ViewRecord
from service.archive.tables import events, inspections
from service.inspection.submission import Origin
from tests.service.api.inspections.conftest import BEGIN

REGION = {
    "x": 1, "y": 2, "width": 3, "height": 4, "area_px": 9,
    "peak": {"x": 2, "y": 3}, "peak_score": 0.75,
}  # fmt: skip


def test_a_row_has_all_that_is_kept_of_a_part(archived):
    record = archived.put(
        captured_at=BEGIN, origin=Origin.LATE, part_id="4711", station="EL-3", job_id="lot-9",
        meta={"exposure_ms": 40}, told=Decision.NG, source=DecisionSource.CLIENT,
        told_reason="no answer in time", found=Decision.OK, raw_score=1.5, threshold=2.0,
        review_threshold=1.9, model_name="solar", model_version="3", model_sha256="ab" * 32,
        calibration_version="2", caller="line-3",
        views=(ViewRecord(filename="a.png", width=5, height=4, regions=[REGION],
                          timings_ms={"total": 8.5}, engine="openvino, bfloat16"),),
    )  # fmt: skip
    (row,) = archived.search()["inspections"]
    view = row.pop("views")[0]
    assert row == {
        "inspection_id": str(record.inspection_id), "node": "line-1",
        "received_at": "2026-11-29T06:00:00Z", "captured_at": "2026-11-29T06:00:00Z",
        "origin": "late", "category": "bolt", "part_id": "4711", "station": "EL-3",
        "job_id": "lot-9", "meta": {"exposure_ms": 40}, "told": "NG", "source": "client",
        "told_reason": "no answer in time", "fail_safe": None, "found": "OK", "score": 0.25,
        "raw_score": 1.5, "threshold": 2.0, "review_threshold": 1.9,
        "model": {"name": "solar", "version": "3", "sha256": "ab" * 32, "calibration_version": "2"},
        "request_id": "request-0", "caller": "line-3", "problem": None, "problem_detail": None,
        "repeats": 1, "verdict": None, "is_held": False,
    }  # fmt: skip
    assert view["image"] == {"state": "missing", "sha256": None, "deleted_at": None}
    assert view["engine"] == "openvino, bfloat16"
    assert "regions" not in view
    one = archived.get(f"/inspections/{record.inspection_id}").json()
    assert one["views"][0]["regions"] == [REGION]
    assert one["views"][0]["timings_ms"] == {"total": 8.5}
    assert (one["verdicts"], one["holds"]) == ([], [])


def test_the_examples_of_the_document_are_answers():
    for model, responses in (
        (PageAnswer, openapi.SEARCH),
        (InspectionAnswer, openapi.ONE),
        (SummaryAnswer, openapi.SUMMARY),
    ):
        example = responses[200]["content"]["application/json"]["example"]
        assert model.model_validate(example).model_dump(mode="json") == example


def test_cursors_lead_through_all(archived, walk):
    records = [archived.put(station="EL-3") for _ in range(7)]
    archived.put(station="EL-4")
    newest_first = [str(record.inspection_id) for record in reversed(records)]
    assert walk(station="EL-3", limit=3) == newest_first
    assert walk(station="EL-3", limit=7) == newest_first


def test_the_default_page_has_fifty(archived):
    for _ in range(51):
        archived.put()
    body = archived.search()
    assert len(body["inspections"]) == 50
    assert len(archived.search(limit=500)["inspections"]) == 51
    assert len(archived.search(cursor=body["cursor"])["inspections"]) == 1


def test_the_limit_may_change_between_pages_and_nothing_else(archived, problem):
    for _ in range(4):
        archived.put(station="EL-3")
    cursor = archived.search(station="EL-3", limit=1)["cursor"]
    assert len(archived.search(station="EL-3", limit=3, cursor=cursor)["inspections"]) == 3
    for other in ({}, {"station": "EL-4"}, {"station": "EL-3", "told": "OK"}):
        response = archived.get("/inspections", params={**other, "cursor": cursor})
        detail = problem(response, 400, "invalid-cursor")["detail"]
        assert "belongs to another search" in detail


@pytest.mark.parametrize("cursor", ["", "x", "A" * 64, "é", "' OR 1=1 --"])
def test_a_forged_cursor_is_refused(archived, problem, cursor):
    response = archived.get("/inspections", params={"cursor": cursor})
    assert "did not make the cursor" in problem(response, 400, "invalid-cursor")["detail"]


def test_rows_that_go_between_pages_neither_fail_nor_repeat(archived):
    records = [archived.put() for _ in range(9)]
    first = archived.search(limit=3)
    gone = [records[n].inspection_id for n in (6, 5, 0)]  # the cursor's own row among them
    condition = inspections.c.inspection_id.in_(gone)
    archived.journal.write_now(
        lambda connection: connection.execute(delete(inspections).where(condition))
    )
    archived.put()
    second = archived.search(limit=9, cursor=first["cursor"])
    found = [row["inspection_id"] for row in second["inspections"]]
    assert found == [str(records[n].inspection_id) for n in (4, 3, 2, 1)]
    assert second["cursor"] is None


@pytest.mark.parametrize(
    "text", ["O'Brien", "'; DROP TABLE inspections; --", "100%", "a_b", "schräg 😀", "a&b=c", "+ +"]
)
def test_any_text_is_a_text(archived, text):
    record = archived.put(part_id=text, station=text)
    archived.put(part_id="other")
    found = archived.get(f"/inspections?part_id={quote(text, safe='')}").json()["inspections"]
    assert [row["inspection_id"] for row in found] == [str(record.inspection_id)]
    assert found[0]["station"] == text
    assert len(archived.search(station=text)["inspections"]) == 1


def test_filters_are_those_of_the_query(archived):
    wanted = archived.put(
        told=Decision.REVIEW, found=Decision.REVIEW, score=0.45, model_name="solar",
        model_version="3", origin=Origin.TEST, job_id="lot-9",
    )  # fmt: skip
    archived.put(model_name="solar", model_version="2", verdict=Verdict.GOOD, is_held=True)
    moment = wanted.received_at.isoformat()
    for query in (
        {"told": "REVIEW"}, {"found": "REVIEW"}, {"min_score": 0.4}, {"model": "solar/3"},
        {"origin": "test"}, {"job_id": "lot-9"}, {"open_review": True}, {"verdict": "none"},
        {"is_held": False}, {"since": moment, "until": "2026-11-29T06:00:01Z"},
    ):  # fmt: skip
        found = [row["inspection_id"] for row in archived.search(**query)["inspections"]]
        assert found == [str(wanted.inspection_id)], query
    assert len(archived.search(model="solar")["inspections"]) == 2
    assert len(archived.search(verdict="good", is_held=True)["inspections"]) == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit"),
        ("limit=501", "less than or equal to 500"),
        ("limit=99999999999999999999999", "limit"),
        ("limit=ten", "limit"),
        ("told=BAD", "'OK', 'NG', 'REVIEW' or 'UNDECIDED'"),
        ("verdict=fine", "verdict"),
        ("since=yesterday", "since"),
        ("since=2026-11-29T06:00:00", "timezone"),
        ("since=0001-01-01T00:00:00Z", "from 1970 to 9000"),
        ("until=9999-12-31T23:59:59-12:00", "from 1970 to 9000"),
        ("since=2026-11-29T06:00:00Z&until=2026-11-29T06:00:00Z", "since must be before until"),
        ("min_score=2", "min_score"),
        ("min_score=nan", "min_score"),
        ("min_score=0.6&max_score=0.5", "min_score must be at most max_score, got 0.6 and 0.5"),
        ("part_id=" + "x" * 257, "part_id"),
        ("part_id=%00", "part_id"),
        ("station=a%0Ab", "station"),
        ("colour=red", "colour"),
        ("told=OK&told=NG", "twice"),
        ("cursor=" + "A" * 201, "cursor"),
    ],
)
def test_an_invalid_query_is_refused(archived, problem, query, said):
    body = problem(archived.get(f"/inspections?{query}"), 422, "invalid-request")
    assert said in body["detail"]


@pytest.mark.parametrize("noun", ["", "/image", "/heatmap"])
@pytest.mark.parametrize(
    "identifier", ["1", "x" * 300, "5f0c7c9e-8d1b-4c5a-9b3f-6e2d1a0c4b7e", "'"]
)
def test_an_invalid_id_is_refused(archived, problem, identifier, noun):
    response = archived.get(f"/inspections/{identifier}{noun}")
    assert "expected a UUIDv7 such as" in problem(response, 422, "invalid-request")["detail"]


def test_an_unknown_id_is_not_found(archived, problem):
    for noun in ("", "/image", "/heatmap"):
        problem(archived.get(f"/inspections/{new_id()}{noun}"), 404, "unknown-inspection")
    for noun, body in (("verdict", {"verdict": "good"}), ("hold", {"is_held": True})):
        response = archived.ask("PUT", f"/inspections/{new_id()}/{noun}", json=body, key="review")
        problem(response, 404, "unknown-inspection")


def test_a_verdict_is_appended_counted_and_an_event(archived):
    record = archived.put(told=Decision.NG)
    body = {"verdict": "defective", "defect_class": "crack", "comment": "a\nb", "who": " Ada "}
    answer = archived.judge(record, "verdict", **body).json()
    assert answer["verdict"] == "defective"
    assert archived.judge(record, "verdict", **body).json() == answer
    answer = archived.judge(record, "verdict", verdict="unsure").json()
    newest, first = answer["verdicts"]
    assert (newest["verdict"], newest["author"]) == ("unsure", "key-review")
    assert (first["defect_class"], first["comment"], first["author"]) == (
        "crack",
        "a\nb",
        "Ada (key-review)",
    )
    assert len(archived.search(verdict="unsure")["inspections"]) == 1
    with archived.journal.reading() as connection:
        assert connection.execute(select(events.c.kind)).scalars().all() == ["verdict"] * 2


def test_a_withdrawn_verdict_leaves_none_and_is_no_filter(archived, problem):
    record = archived.put(told=Decision.NG)
    problem(archived.judge(record, "verdict", verdict="withdrawn"), 422, "invalid-request")
    archived.judge(record, "verdict", verdict="good")
    answer = archived.judge(record, "verdict", verdict="withdrawn", who="Ada").json()
    assert answer["verdict"] is None
    assert [one["verdict"] for one in answer["verdicts"]] == ["withdrawn", "good"]
    assert answer["verdicts"][0]["author"] == "Ada (key-review)"
    assert len(archived.search(verdict="none")["inspections"]) == 1
    refused = archived.get("/inspections", params={"verdict": "withdrawn"})
    problem(refused, 422, "invalid-request")
    counts = archived.get("/inspections/summary", params=SUMMARY_TIMES).json()["counts"]
    assert counts == [{"told": "NG", "verdict": None, "parts": 1}]


def test_a_hold_is_set_and_released(archived):
    record = archived.put()
    assert archived.judge(record, "hold", is_held=True, reason="audit").json()["is_held"]
    assert len(archived.search(is_held=True)["inspections"]) == 1
    answer = archived.judge(record, "hold", is_held=False).json()
    assert (answer["is_held"], len(answer["holds"])) == (False, 2)


@pytest.mark.parametrize(
    ("noun", "body"),
    [
        ("verdict", {}),
        ("verdict", {"verdict": "bad"}),
        ("verdict", {"verdict": "good", "who": ""}),
        ("verdict", {"verdict": "good", "who": "a\nb"}),
        ("verdict", {"verdict": "good", "comment": "x" * 2001}),
        ("verdict", {"verdict": "good", "defect_class": "a\u0000"}),
        ("verdict", {"verdict": "good", "author": "boss"}),
        ("hold", {"is_held": "yes"}),
        ("hold", {"is_held": 1}),
        ("hold", {"reason": "x"}),
    ],
)
def test_an_invalid_judgement_is_refused(archived, problem, noun, body):
    record = archived.put()
    problem(archived.judge(record, noun, **body), 422, "invalid-request")
    assert archived.search()["inspections"][0]["verdict"] is None


SUMMARY_TIMES = {"since": "2026-11-29T06:10:00Z", "until": "2026-11-29T06:20:00Z"}
ALLOWED = {
    "detect": set(),
    "read": {"GET"},
    "review": {"GET", "PUT"},
    "admin": {"GET"},
}


@pytest.mark.parametrize("key", ALLOWED)
def test_reading_and_judging_need_their_scopes(archived, problem, key):
    one = f"/inspections/{archived.put().inspection_id}"
    gets = ["/inspections", "/inspections/summary", one]
    asked = [("GET", path, {}) for path in gets]
    asked += [
        ("PUT", f"{one}/verdict", {"verdict": "good"}),
        ("PUT", f"{one}/hold", {"is_held": True}),
    ]
    for method, path, body in asked:
        response = archived.ask(method, path, key, json=body or None)
        if method in ALLOWED[key]:
            assert response.status_code == 200, response.text
        else:
            problem(response, 403, "forbidden")


def test_without_an_archive_a_search_is_refused(line, problem):
    response = line.get("/inspections")
    detail = problem(response, 404, "no-archive")["detail"]
    assert "set MAMBAAD_VERSIONS__STATE_DIR" in detail


def test_a_summary_counts(archived):
    for told in (Decision.OK, Decision.OK, Decision.NG):
        archived.put(told=told)
    archived.put(received_at=BEGIN + timedelta(hours=1), score=None, told=Decision.UNDECIDED)
    hour = archived.get("/inspections/summary", params=SUMMARY_TIMES).json()
    assert (hour["since"], hour["until"]) == ("2026-11-29T06:00:00Z", "2026-11-29T07:00:00Z")
    expected = [
        {"told": "NG", "verdict": None, "parts": 1},
        {"told": "OK", "verdict": None, "parts": 2},
    ]
    assert hour["counts"] == expected
    assert hour["steps"] == [{"at": "2026-11-29T06:00:00Z", "counts": expected}]
    day = {"since": "2026-11-29T00:00:00Z", "until": "2026-11-30T00:00:00Z", "by": "day"}
    body = archived.get("/inspections/summary", params=day).json()
    assert [step["at"] for step in body["steps"]] == ["2026-11-29T00:00:00Z"]
    assert {of["told"]: (sum(of["bins"]), of["without_score"]) for of in body["scores"]} == {
        "NG": (1, 0),
        "OK": (2, 0),
        "UNDECIDED": (0, 1),
    }
    assert (
        archived.get("/inspections/summary", params={**day, "category": "nut"}).json()["counts"]
        == []
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("by=minute", "'hour' or 'day'"),
        ("since=1970-01-01T00:00:00Z&until=2026-01-01T00:00:00Z", "may be 1000 steps, got"),
        ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "since must be before until"),
        ("until=8999-12-31T23:59:59.999999Z&since=1970-01-01T00:00:00Z&by=day", "may be 1000"),
    ],
)
def test_absurd_summaries_are_refused(archived, problem, query, said):
    body = problem(archived.get(f"/inspections/summary?{query}"), 422, "invalid-request")
    assert said in body["detail"]


@pytest.mark.parametrize(
    "query", ["", "?by=day", "?until=1970-01-01T00:00:00Z", "?since=8999-12-31T23:59:59.999999Z"]
)
def test_a_summary_has_a_period_of_its_own(archived, query):
    assert archived.get(f"/inspections/summary{query}").status_code == 200
