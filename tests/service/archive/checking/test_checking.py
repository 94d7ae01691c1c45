"""A check finds every fault that a hand or a crash can cause, and nothing else."""

import os
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from model.inspection import Decision
from service.archive.checking import files as file_checks
from service.archive.checking.database import check_database
from service.archive.checking.files import (
    check_hashes,
    check_rows,
    check_strays,
    move_orphan,
    orphans,
)
from service.archive.checking.problems import Fault
from service.archive.checking.rollups import check_rollups
from service.archive.media import MAP_SUFFIX
from service.archive.records import Verdict
from service.archive.retention.deletion import delete_inspections
from service.archive.searching.judging import NewVerdict, give
from service.archive.sqlite.connections import Readers
from service.archive.tables import rollups
from service.inspection.submission import Origin
from tests.service.archive.shelf import Shelf, open_shelf


@pytest.fixture
def shelf(tmp_path):
    with open_shelf(tmp_path / "archive") as shelf:
        yield shelf


def problems(shelf: Shelf) -> list[tuple[Fault, str]]:
    reading, media = shelf.journal.reading, shelf.media
    checks = [
        check_database(reading),
        check_rows(reading, media),
        check_hashes(media),
        check_strays(reading, media),
        check_rollups(reading),
    ]
    return [(problem.fault, problem.subject) for check in checks for problem in check]


def path_of(shelf: Shelf, identifier, *, is_map: bool = False) -> Path:
    record = shelf.find(identifier)
    (view,) = record.views
    day = record.received_at.date()
    if is_map:
        return shelf.media.find(view.map_sha256, day, MAP_SUFFIX)
    return shelf.media.find(view.image_sha256, day)


def make_old(path: Path) -> None:
    os.utime(path, (time.time() - 7200,) * 2)


def test_a_sound_archive_has_no_problem(shelf, monkeypatch):
    monkeypatch.setattr(file_checks, "_PAGE", 2)
    assert problems(shelf) == []
    shelf.add(5, told=Decision.OK)
    shelf.add(2, age_days=3, station="EL-3", score=0.999999, repeats=7)
    shelf.add(2, age_days=40, score=1.0)
    shelf.add(2, origin=Origin.TEST)
    shelf.add(3, with_image=False, with_map=False)
    shelf.part()  # its row is still to come
    assert problems(shelf) == []


def test_a_withdrawn_verdict_is_no_problem(shelf):
    (identifier,) = shelf.add()
    for verdict in (Verdict.GOOD, Verdict.WITHDRAWN):
        new = NewVerdict(verdict, "Ada")
        shelf.journal.write_now(partial(give, inspection_id=identifier, new=new))
        assert problems(shelf) == []


def test_files_that_are_gone_altered_or_links_are_found(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(file_checks, "_PAGE", 2)
    ids = shelf.add(7)
    path_of(shelf, ids[0]).unlink()
    path_of(shelf, ids[1], is_map=True).unlink()
    altered, link = path_of(shelf, ids[2]), path_of(shelf, ids[3])
    altered.write_bytes(altered.read_bytes()[:-1] + b"!")
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    assert sorted(problems(shelf)) == sorted(
        [
            (Fault.NO_FILE, f"inspection {ids[0]}"),
            (Fault.NO_FILE, f"inspection {ids[1]}"),
            (Fault.ALTERED, str(altered)),
            (Fault.FOREIGN, str(link)),
        ]
    )


def test_files_without_rows_are_found_and_moved_aside(shelf):
    kept, dropped = shelf.add(), shelf.add()
    names = [path_of(shelf, dropped[0]), path_of(shelf, dropped[0], is_map=True)]
    shelf.journal.write_now(lambda connection: delete_inspections(connection, dropped, 10))
    assert problems(shelf) == []  # younger than an hour
    for path in names:
        make_old(path)
    assert sorted(problems(shelf)) == sorted((Fault.NO_ROW, str(path)) for path in names)
    moved = [move_orphan(shelf.media, file) for file in orphans(shelf.journal.reading, shelf.media)]
    assert problems(shelf) == []
    assert {path.name for path in moved} == {path.name for path in names}
    assert all(path.parent.parent.name == "orphans" and path.is_file() for path in moved)
    assert shelf.files_of(*kept) < shelf.files()


def test_other_files_are_named(shelf):
    shelf.add()
    others = [shelf.media.folder / "notes.txt", shelf.media.folder / "2026-11-29x" / "a.png"]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    found = {subject for fault, subject in problems(shelf) if fault is Fault.FOREIGN}
    assert found == {str(others[0]), str(others[1].parent)}


def test_roll_ups_that_differ_are_named_but_not_those_of_thinned_hours(shelf):
    ids = shelf.add(3, age_days=2, score=0.25)
    others = shelf.add(2, age_days=5)
    shelf.journal.write_now(lambda connection: delete_inspections(connection, others[:1], 10))
    assert problems(shelf) == []

    def drop(connection) -> None:
        connection.execute(update(rollups).where(rollups.c.score_bin == 12).values(parts=4))

    shelf.journal.write_now(drop)
    ((fault, subject),) = problems(shelf)
    assert fault is Fault.ROLLUP
    assert "score_bin 12" in subject
    shelf.journal.write_now(lambda connection: connection.execute(delete(rollups)))
    assert len(problems(shelf)) == 2
    assert ids


def test_a_damaged_page_is_found(shelf, tmp_path):
    shelf.add(300, with_image=False, with_map=False, part_id="P" * 200)
    shelf.journal.close()
    path = shelf.folder / "journal.db"
    content = bytearray(path.read_bytes())
    for page in range(20, len(content) // 4096 - 5):
        content[page * 4096 : page * 4096 + 200] = os.urandom(200)
    path.write_bytes(content)
    readers = Readers(path)
    found = list(check_database(readers.reading))
    readers.close()
    assert found
    assert {problem.fault for problem in found} == {Fault.DATABASE}


def test_rows_without_their_inspection_are_found(shelf):
    shelf.add(2, with_map=False)
    shelf.journal.close()
    with closing(sqlite3.connect(shelf.folder / "journal.db")) as connection, connection:
        connection.execute("DELETE FROM inspections")
    readers = Readers(shelf.folder / "journal.db")
    faults = [(problem.fault, problem.subject) for problem in check_database(readers.reading)]
    readers.close()
    assert faults == [(Fault.DATABASE, "a row of views")] * 2
