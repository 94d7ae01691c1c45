"""What the page counts equals a recount of the rows, whatever the threshold."""

import bisect
import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import Decision
from service.archive import store
from service.archive.migrate import upgrade
from service.archive.records import Verdict
from service.archive.searching.sampling import is_sampled
from service.archive.sqlite_journal import SqliteJournal
from service.console.thresholds.scores import TOLD, VERDICTS, Wanted, read_parts
from service.inspection.submission import Origin
from tests.service.console.thresholds.making import SHARE, parts_of_a_shift, write

NOW = datetime(2026, 11, 30, 6, tzinfo=UTC)
KEY = CheckpointKey("parts", "1")
WANTED = Wanted("bolt", KEY, NOW - timedelta(days=1), NOW, SHARE)


@pytest.fixture
def records():
    return parts_of_a_shift(1500, now=NOW)


@pytest.fixture
def journal(tmp_path, records):
    journal = SqliteJournal.open(tmp_path / "archive", "line-1")
    write(journal, records)
    yield journal
    journal.close()


def counted(record):
    """Whether the page is about a part, by its fields alone."""
    return (
        record.category == "bolt"
        and (record.model_name, record.model_version) == ("parts", "1")
        and record.origin is not Origin.TEST
        and WANTED.since <= record.received_at < WANTED.until
        and record.found is not None
    )


def test_counts_at_any_threshold_equal_a_recount(journal, records):
    with journal.reading() as connection:
        parts = read_parts(connection, WANTED)
    rows = [record for record in records if counted(record)]
    assert len(parts) == len(rows) == 1500
    assert (parts.of_others, parts.undecided, parts.read) == (7, 14, 1521)
    assert parts.oldest is None
    chance = random.Random(1)
    raws = parts.raw.tolist()
    ties = [raw for raw, after in itertools.pairwise(raws) if raw == after]
    assert len(ties) > 50
    places = [chance.uniform(7, 13) for _ in range(60)] + chance.sample(ties, 30)
    for threshold in [*places, min(raws), max(raws)]:
        review = threshold - chance.choice([0.25, 0.5, 1.1])
        shared = {"pixel_threshold": 1, "image_scale": 1, "pixel_scale": 1}
        calibration = Calibration(
            threshold, **shared, alpha=0.01, good_images=100, review_threshold=review
        )
        recount = [calibration.decide(row.raw_score) for row in rows]
        rejected = len(raws) - bisect.bisect_right(raws, threshold)
        passed = bisect.bisect_right(raws, review)
        assert rejected == recount.count(Decision.NG)
        assert passed == recount.count(Decision.OK)
        assert len(raws) - rejected - passed == recount.count(Decision.REVIEW)


def test_a_part_exactly_at_the_threshold_is_not_rejected(journal, records):
    at = [record for record in records if counted(record) and record.raw_score == 10.0]
    assert len(at) > 3
    assert {record.found for record in at} == {Decision.REVIEW}
    with journal.reading() as connection:
        parts = read_parts(connection, WANTED)
    told = parts.told[parts.raw == 10.0]
    assert {TOLD[place] for place in told} == {Decision.REVIEW}


def test_verdicts_and_the_sample_are_those_of_the_rows(journal, records):
    with journal.reading() as connection:
        parts = read_parts(connection, WANTED)
    of_page = sorted(
        (raw, TOLD[told], VERDICTS[verdict] or "", bool(judged))
        for raw, told, verdict, judged in zip(
            parts.raw.tolist(), parts.told, parts.verdicts, parts.is_judged, strict=True
        )
    )
    of_rows = sorted(
        (row.raw_score, row.told, row.verdict or "", is_judged(row))
        for row in records
        if counted(row)
    )
    assert of_page == of_rows
    left_out = [
        row for row in records
        if counted(row) and row.verdict in {Verdict.GOOD, Verdict.DEFECTIVE} and not is_judged(row)
    ]  # fmt: skip
    assert len(left_out) > 20


def is_judged(row):
    in_sample = row.told is not Decision.OK or is_sampled(row.inspection_id, SHARE)
    return row.verdict in {Verdict.GOOD, Verdict.DEFECTIVE} and in_sample


def test_the_newest_parts_count_where_a_period_has_more(journal, records):
    with journal.reading() as connection:
        parts = read_parts(connection, WANTED, newest=400)
    of_category = [
        row for row in records
        if row.category == "bolt" and row.origin is not Origin.TEST
        and WANTED.since <= row.received_at < WANTED.until
    ]  # fmt: skip
    newest = sorted(of_category, key=lambda row: row.received_at, reverse=True)[:400]
    assert sorted(parts.raw.tolist()) == sorted(row.raw_score for row in newest if counted(row))
    assert (parts.read, parts.oldest) == (400, newest[-1].received_at)


def test_no_parts_are_no_error(journal):
    nothing = Wanted("none", KEY, WANTED.since, WANTED.until, SHARE)
    with journal.reading() as connection:
        parts = read_parts(connection, nothing)
    assert (len(parts), parts.read, parts.oldest) == (0, 0, None)


def test_postgresql_answers_alike(postgresql_url, records):
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        upgrade(connection)
        store.insert(connection, records)
        parts = read_parts(connection, WANTED)
    engine.dispose()
    rows = [row for row in records if counted(row)]
    assert parts.raw.tolist() == sorted(row.raw_score for row in rows)
    assert int(parts.is_judged.sum()) == sum(is_judged(row) for row in rows)
