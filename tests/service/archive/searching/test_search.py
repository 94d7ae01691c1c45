"""Searching: what a filter finds, page by page, and by which index."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import ClauseElement, Executable, delete
from sqlalchemy.ext.compiler import compiles

from model.inspection import Decision
from service.archive import store
from service.archive.records import Verdict, ViewRecord
from service.archive.searching.search import (
    BY_RESULT,
    NO_VERDICT,
    Filter,
    Position,
    index_for,
    page_query,
    search,
)
from service.archive.tables import inspections
from service.inspection.submission import Origin
from tests.service.archive.conftest import BEGIN

HOSTILE = [
    "O'Brien",
    'say "stop"',
    "'; DROP TABLE inspections; --",
    "100 %",
    "a_b",
    "a%b",
    "schräg 😀",
    "\\",
    "\N{FULLWIDTH LATIN CAPITAL LETTER A}",
    "[a-z]*",
    "",
]


class Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, query):
        self.query = query


@compiles(Explain, "sqlite")
def explain_in_sqlite(element, compiler, **options):
    return "EXPLAIN QUERY PLAN " + compiler.process(element.query, **options)


@compiles(Explain, "postgresql")
def explain_in_postgresql(element, compiler, **options):
    return "EXPLAIN " + compiler.process(element.query, **options)


def plan_of(connection, query):
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        connection.exec_driver_sql("SET LOCAL enable_sort = off")
        connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
    return "\n".join(str(row[-1]) for row in connection.execute(Explain(query)))


def ids(page):
    return [record.inspection_id for record in page.inspections]


def walk(connection, wanted, limit):
    """Follow the pages to the last one."""
    seen, end = [], None
    while True:
        page = search(connection, wanted, limit, end)
        seen += ids(page)
        if page.end is None:
            return seen
        end = page.end


def test_pages_lead_through_all_from_the_newest_on(connection, part):
    records = [part(views=(ViewRecord(filename=f"{n}.png"),)) for n in range(11)]
    store.insert(connection, records)
    newest_first = [record.inspection_id for record in reversed(records)]
    for limit in (1, 3, 10, 11, 12):
        assert walk(connection, Filter(), limit) == newest_first
    page = search(connection, Filter(), 2)
    assert [record.views[0].filename for record in page.inspections] == ["10.png", "9.png"]


def test_parts_of_the_same_moment_are_neither_repeated_nor_left_out(connection, part):
    records = [part(received_at=BEGIN) for _ in range(9)]
    store.insert(connection, records)
    newest_first = sorted((r.inspection_id for r in records), reverse=True)
    assert walk(connection, Filter(), 2) == newest_first


def test_an_empty_archive_has_one_empty_page(connection):
    page = search(connection, Filter(), 5)
    assert (ids(page), page.end) == ([], None)


FIELDS = {
    "category": "nut",
    "station": "EL-3",
    "part_id": "4711",
    "job_id": "lot-9",
    "told": Decision.NG,
    "found": Decision.NG,
    "verdict": Verdict.DEFECTIVE,
    "model_name": "solar",
    "model_version": "3",
    "origin": Origin.LATE,
    "is_held": True,
}


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_filters(connection, part, name):
    others = [part(), part()]
    wanted = part(**{name: FIELDS[name]})
    store.insert(connection, [others[0], wanted, others[1]])
    assert walk(connection, Filter(**{name: FIELDS[name]}), 10) == [wanted.inspection_id]


def test_fields_are_combined(connection, part):
    wanted = part(**FIELDS)
    almost = [replace(part(**FIELDS), **{name: getattr(part(), name)}) for name in FIELDS]
    store.insert(connection, [wanted, *almost])
    assert walk(connection, Filter(**FIELDS), 3) == [wanted.inspection_id]


def test_times_and_scores_are_ranges(connection, part):
    records = [part(score=n / 10) for n in range(10)]
    store.insert(connection, [*records, part(score=None)])

    def found(**wanted):
        return [round(r.score * 10) for r in search(connection, Filter(**wanted), 50).inspections]

    since, until = records[2].received_at, records[5].received_at
    assert found(since=since, until=until) == [4, 3, 2]
    assert found(min_score=0.3, max_score=0.5) == [5, 4, 3]
    assert found(until=BEGIN) == []
    assert found(since=records[9].received_at, max_score=1.0) == [9]


def test_open_reviews_are_those_that_nobody_judged(connection, part):
    review, undecided = part(told=Decision.REVIEW), part(told=Decision.UNDECIDED, station="EL-3")
    judged = part(told=Decision.REVIEW, verdict=Verdict.GOOD)
    store.insert(connection, [part(), review, judged, undecided, part(told=Decision.NG)])
    assert walk(connection, Filter(is_open_review=True), 9) == [
        undecided.inspection_id,
        review.inspection_id,
    ]
    of_station = Filter(is_open_review=True, station="EL-3")
    assert walk(connection, of_station, 9) == [undecided.inspection_id]
    of_part = Filter(is_open_review=True, part_id="x")
    assert walk(connection, of_part, 9) == []


def test_without_a_verdict_and_without_a_hold(connection, part):
    plain = part()
    store.insert(connection, [plain, part(verdict=Verdict.UNSURE), part(is_held=True)])
    wanted = Filter(verdict=NO_VERDICT, is_held=False)
    assert walk(connection, wanted, 9) == [plain.inspection_id]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_are_found_as_they_are_and_nothing_else_is(connection, part, text):
    fields = dict.fromkeys(("category", "station", "part_id", "job_id"), text)
    wanted = part(**fields)
    others = [part(**dict.fromkeys(fields, other)) for other in HOSTILE if other != text]
    store.insert(connection, [wanted, *others])
    for name in fields:
        assert walk(connection, Filter(**{name: text}), 2) == [wanted.inspection_id]
    assert len(walk(connection, Filter(), 4)) == len(HOSTILE)


def test_rows_that_the_retention_deletes_between_pages_hide_nothing(connection, part):
    records = [part(station="EL-3") for _ in range(12)]
    store.insert(connection, records)
    wanted = Filter(station="EL-3")
    page = search(connection, wanted, 4)
    # The last row of the page, the next one, and the oldest are gone; a new one has come.
    gone = [records[n].inspection_id for n in (8, 7, 0)]
    connection.execute(delete(inspections).where(inspections.c.inspection_id.in_(gone)))
    store.insert(connection, [part(station="EL-3")])
    rest = []
    while page.end is not None:
        page = search(connection, wanted, 4, page.end)
        rest += ids(page)
    assert rest == [records[n].inspection_id for n in (6, 5, 4, 3, 2, 1)]


BY_INDEX = {
    "inspections_by_time": [Filter(), Filter(model_name="cells", min_score=0.5)],
    "inspections_by_result": [
        Filter(found=Decision.NG, min_score=0.5),
        Filter(max_score=0.1, told=Decision.OK, category="bolt", station="EL-3", since=BEGIN),
        Filter(origin=Origin.TEST),
    ],
    "inspections_of_part": [
        Filter(part_id="4711"),
        Filter(part_id="4711", station="EL-3", category="bolt", told=Decision.NG),
    ],
    "inspections_of_job": [Filter(job_id="lot-9", category="bolt")],
    "inspections_of_station": [
        Filter(station="EL-3"),
        Filter(station="EL-3", category="bolt", told=Decision.OK, since=BEGIN),
    ],
    "inspections_of_category": [
        Filter(category="bolt", since=BEGIN, until=BEGIN + timedelta(days=1)),
        Filter(category="bolt", verdict=NO_VERDICT),
    ],
    "open_reviews": [
        Filter(is_open_review=True),
        Filter(is_open_review=True, station="EL-3", category="bolt", since=BEGIN),
    ],
    "inspections_judged": [Filter(verdict=Verdict.DEFECTIVE, category="bolt")],
    "inspections_held": [Filter(is_held=True)],
    "inspections_rejected": [Filter(told=Decision.NG, category="bolt", station="EL-3")],
}


@pytest.mark.parametrize("index", BY_INDEX)
def test_every_search_uses_an_index(connection, part, index):
    store.insert(connection, [part(station="EL-3", part_id="4711", told=Decision.NG)])
    for wanted in BY_INDEX[index]:
        assert index_for(wanted) == index
        for after in (None, Position(BEGIN, part().inspection_id)):
            plan = plan_of(connection, page_query(wanted, 50, after))
            if connection.dialect.name == "sqlite":
                # PostgreSQL chooses by its statistics, which a table of one row has not.
                is_alone = index == BY_RESULT  # then sorts the rows of one page
                assert f"USING {'COVERING ' * is_alone}INDEX {index}" in plan, plan
                assert plan.count("TEMP B-TREE") == is_alone, plan
            assert "Index Scan" in plan or f"INDEX {index}" in plan, plan
            assert plan.count("Sort") <= 2 * (index == BY_RESULT), plan
