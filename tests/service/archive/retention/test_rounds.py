"""The retention takes what is too old or too much, oldest first, and nothing that is protected."""

import errno
import logging
import os
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from model.inspection import Decision
from service.archive import events as journal_events
from service.archive.media import MAP_SUFFIX, MediaGone
from service.archive.records import EventKind, MediaState
from service.archive.retention import calendar
from service.archive.retention.pages import file_size
from service.archive.tables import (
    dead_letters,
    events,
    holds,
    rollups,
    thinned_hours,
    verdicts,
    views,
)
from tests.service.archive.shelf import IMAGE_BYTES, NOW, open_shelf


@pytest.fixture
def shelf(tmp_path):
    with open_shelf(tmp_path / "archive") as shelf:
        yield shelf


def test_rows_go_at_their_age_with_all_that_belongs_to_them(shelf):
    old = shelf.add(3, age_days=731)
    shelf.add(247, age_days=731, with_image=False, with_map=False)
    young = shelf.add(3, age_days=729)

    def judge(connection: Connection) -> None:
        row = {"inspection_id": old[0], "author": "Ada", "at": NOW}
        connection.execute(verdicts.insert(), {**row, "event_id": old[1], "verdict": "good"})
        connection.execute(holds.insert(), {**row, "event_id": old[2], "is_held": False})
        letter = {"sink": "mes", "number": 1, "event_id": old[0], "reason": "400", "at": NOW}
        connection.execute(dead_letters.insert(), letter)

    shelf.journal.write_now(judge)
    counted = shelf.count(rollups)
    assert shelf.retention().run()
    assert shelf.ids() == set(young)
    assert shelf.files() == set()
    of_young = [shelf.count(table) for table in (views, events, verdicts, holds, dead_letters)]
    assert of_young == [3, 3, 0, 0, 0]
    assert shelf.count(rollups) == counted == 2
    assert shelf.count(thinned_hours) == 1
    assert (shelf.deleted("inspection", "age"), shelf.deleted("file", "age")) == (250, 12)


def test_media_go_by_what_the_line_was_told_and_the_row_says_so(shelf):
    ng = shelf.add(age_days=8)
    ok = shelf.add(age_days=8, told=Decision.OK)
    fresh = shelf.add(age_days=6, told=Decision.OK)
    shelf.retention(media_days="OK=7,NG=365").run()
    assert shelf.ids() == {*ng, *ok, *fresh}
    assert shelf.files() == shelf.files_of(*ng, *fresh)
    (view,) = shelf.find(ok[0]).views
    assert (view.image_state, view.map_state) == (MediaState.DELETED, MediaState.DELETED)
    assert view.image_deleted_at == view.map_deleted_at
    assert datetime.now(UTC) - view.image_deleted_at < timedelta(minutes=1)
    (view,) = shelf.find(ng[0]).views
    assert (view.image_state, view.map_state) == (MediaState.KEPT, MediaState.KEPT)
    with pytest.raises(MediaGone):
        shelf.media.read(shelf.find(ok[0]).views[0].image_sha256, (NOW - timedelta(days=8)).date())


def test_beyond_their_bytes_the_oldest_media_go(shelf):
    newest = shelf.add(3, age_days=1, with_map=False)
    oldest = shelf.add(20, age_days=20, with_map=False)
    between = shelf.add(3, age_days=10, with_map=False)
    ballast = os.urandom(2**20 - 5 * IMAGE_BYTES)
    shelf.add(content=ballast, with_map=False)
    shelf.retention(media_bytes=2**20).run()
    states = [shelf.find(identifier).views[0].image_state for identifier in between]
    assert sorted(states) == [MediaState.DELETED, MediaState.KEPT, MediaState.KEPT]
    assert shelf.media.bytes_in_use == shelf.media.count() == 2**20
    kept = {name for name in shelf.files_of(*newest) if not name.endswith(MAP_SUFFIX)}
    assert shelf.files() > kept
    assert not shelf.files() & shelf.files_of(*oldest)
    assert shelf.deleted("file", "bytes") == 21
    assert not (shelf.media.folder / (NOW - timedelta(days=20)).date().isoformat()).exists()


def test_beyond_their_bytes_the_oldest_rows_go_and_the_file_shrinks(shelf, monkeypatch):
    monkeypatch.setattr("service.archive.retention.pages._MIN_PAGES", 10)
    meta = {"padding": "x" * 2000}
    ids = [
        shelf.add(50, age_days=40 - day, with_map=False, with_image=False, meta=meta)[0]
        for day in range(40)
    ]
    with shelf.journal.reading() as connection:
        before = file_size(connection)
    retention = shelf.retention(rows_bytes=3 * 2**20)
    while not retention.run():
        pass
    with shelf.journal.reading() as connection:
        after = file_size(connection)
    assert after.used_bytes <= 3 * 2**20 < before.used_bytes
    assert after.pages < 0.8 * before.pages
    assert after.free_pages <= max(10, 0.05 * before.pages)
    assert ids[-1] in shelf.ids()
    assert ids[0] not in shelf.ids()
    assert shelf.deleted("inspection", "bytes") > 500


def test_nothing_that_is_held_is_taken(shelf):
    held, other = shelf.add(age_days=800), shelf.add(age_days=800)
    shelf.hold(*held)
    retention = shelf.retention(media_bytes=2**20, rows_bytes=2**20)
    retention.run()
    assert shelf.ids() == set(held)
    assert shelf.files() == shelf.files_of(*held)
    shelf.hold(*held, is_held=False)
    retention.run()
    assert (shelf.ids(), shelf.files()) == (set(), set())
    assert other


def test_nothing_is_taken_that_a_sink_has_not_taken(shelf):
    first, second, third = (shelf.add(age_days=800)[0] for _ in range(3))
    record = shelf.find(first)
    shelf.journal.write_now(
        lambda connection: journal_events.append(connection, EventKind.VERDICT, record)
    )
    retention = shelf.retention(sinks=("mes", "central"))
    shelf.deliver("mes", 4)
    shelf.deliver("old", 0)  # no longer configured
    retention.run()
    assert shelf.ids() == {first, second, third}
    shelf.deliver("central", 2)
    retention.run()
    assert shelf.ids() == {first, third}  # the verdict on the first is event 4
    assert shelf.files() == shelf.files_of(first, third)
    shelf.deliver("central", 4)
    retention.run()
    assert (shelf.ids(), shelf.files()) == (set(), set())


def test_a_bound_that_protected_ones_exceed_blocks_and_is_said(shelf, caplog):
    held = shelf.add(2, content=os.urandom(2**20))
    shelf.hold(*held)
    with caplog.at_level(logging.WARNING, "service"):
        assert shelf.retention(media_bytes=2**20).run()
    assert "MAMBAAD_ARCHIVE__MEDIA_BYTES" in caplog.text
    assert shelf.rounds("blocked") == 1
    assert shelf.ids() == set(held)


def test_a_file_that_another_row_keeps_stays(shelf):
    content = b"the same picture" * 100
    old = shelf.add(age_days=40, content=content, with_map=False)
    held = shelf.add(age_days=40, content=content, with_map=False)
    shelf.hold(*held)
    retention = shelf.retention()
    retention.run()
    assert shelf.find(old[0]).views[0].image_state is MediaState.DELETED
    (view,) = shelf.find(held[0]).views
    assert shelf.media.read(view.image_sha256, (NOW - timedelta(days=40)).date()) == content
    shelf.hold(*held, is_held=False)
    retention.run()
    assert shelf.files() == set()


def test_files_that_cannot_be_deleted_cost_no_other_row_its_file(shelf, monkeypatch):
    ids = shelf.add(40, age_days=40, with_map=False)
    retention = shelf.retention()

    def refuse(path, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match="Read-only"):
                retention.run()
    states = Counter(shelf.find(identifier).views[0].image_state for identifier in ids)
    assert states == {MediaState.DELETED: 20, MediaState.KEPT: 20}
    assert len(shelf.files()) == 40
    retention.run()
    assert shelf.files() == set()
    assert shelf.deleted("file", "age") == 40


def test_a_clock_that_jumps_ahead_deletes_nothing_by_age(shelf, monkeypatch, caplog):
    ids = shelf.add(3, age_days=1)
    retention = shelf.retention()

    class Ahead(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + timedelta(days=1000)

    monkeypatch.setattr(calendar, "datetime", Ahead)
    with caplog.at_level(logging.WARNING, "service"):
        retention.run()
    assert shelf.ids() == set(ids)
    assert shelf.files() == shelf.files_of(*ids)
    assert "jumped ahead by 1000.0 days" in caplog.text
    assert shelf.rounds("blocked") == 1


def test_a_day_removed_by_hand_is_no_error(shelf):
    ids = shelf.add(3, age_days=40)
    for path in sorted(shelf.media.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    shelf.retention().run()
    states = {shelf.find(identifier).views[0].image_state for identifier in ids}
    assert states == {MediaState.DELETED}
    assert shelf.rounds("done") == 1


def test_the_thread_runs_rounds_and_reports(shelf, eventually, caplog):
    ids = shelf.add(3, age_days=40)
    retention = shelf.retention(retention_interval_s=0.01)
    with caplog.at_level(logging.DEBUG, "service"), retention.running():
        eventually(lambda: shelf.rounds("done") >= 3, "three rounds")
    assert shelf.files() == set()
    assert "the retention deleted 6 files (age)" in caplog.text
    assert str(ids[0]) in caplog.text
    assert all("running" not in thread.name for thread in threading.enumerate())
    age_s = shelf.metrics.registry.get_sample_value("mambaad_archive_oldest_inspection_age_seconds")
    since_s = (datetime.now(UTC) - NOW).total_seconds()
    assert age_s == pytest.approx(40 * 86_400 + since_s, abs=600)


def test_a_failing_round_is_counted_and_the_next_one_runs(shelf, eventually, monkeypatch):
    shelf.add(3, age_days=40)

    def refuse(path, **_):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        retention = shelf.retention(retention_interval_s=0.01)
        with retention.running():
            eventually(lambda: shelf.rounds("failed") >= 2, "two failures")
    with retention.running():
        pass
    assert shelf.rounds("failed") >= 2
