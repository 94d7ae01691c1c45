"""Files without a row are found; of these only those go that nobody can miss."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from service.archive.media.folder import MediaFile
from service.archive.retention.deletion import delete_media
from service.archive.retention.sweep import sweep, unkept_files
from tests.service.archive.shelf import NOW, Shelf, open_shelf


@pytest.fixture
def shelf(tmp_path) -> Iterator[Shelf]:
    with open_shelf(tmp_path / "archive") as shelf:
        yield shelf


def orphan(shelf: Shelf, content: bytes, age_days: float) -> str:
    """Put a file without a row, written two hours ago; return its name."""
    day = (NOW - timedelta(days=age_days)).date()
    sha256, _ = shelf.media.put(content, day)
    shelf.media.release(sha256, day)
    return shelf.media.find(sha256, day).name


def age_files(shelf: Shelf) -> None:
    for path in shelf.media.folder.rglob("*.*"):
        if path.is_file():
            os.utime(path, (time.time() - 7200,) * 2)


def run(shelf: Shelf, max_bytes: int = 10**9) -> int:
    return sweep(
        shelf.journal, shelf.media, longest_days=30, max_bytes=max_bytes, pause=lambda: False
    )


def test_what_a_crash_left_between_row_and_file_goes_at_once(shelf):
    ids = shelf.add(3, age_days=2)
    shelf.journal.write_now(lambda connection: delete_media(connection, ids[:2], 10))
    assert run(shelf) == 0  # younger than an hour: the row may still come
    age_files(shelf)
    assert run(shelf) == 4
    assert shelf.files() == shelf.files_of(ids[2])


def test_files_without_any_row_stay_until_they_are_too_old(shelf):
    kept = shelf.add(3, age_days=1)
    young, old = orphan(shelf, b"young", 2), orphan(shelf, b"old", 32)
    age_files(shelf)
    assert run(shelf) == 1
    assert shelf.files() == {young, *shelf.files_of(*kept)}
    assert old not in shelf.files()


def test_too_many_bytes_without_rows_go_oldest_first(shelf):
    names = [orphan(shelf, b"%d" % number * 1000, 10 - number) for number in range(5)]
    age_files(shelf)
    shelf.media.count()
    assert run(shelf, max_bytes=2500) == 3
    assert shelf.files() == set(names[3:])


def test_a_file_that_is_being_recorded_stays(shelf):
    record = shelf.part(age_days=40)
    age_files(shelf)
    assert run(shelf) == 0
    assert shelf.files() == shelf.files_of(record.inspection_id)


def test_unkept_files_come_in_batches_of_a_day(shelf):
    shelf.add(2, age_days=1)
    names = {orphan(shelf, b"a", 1), orphan(shelf, b"b", 2)}
    files = shelf.media.files()
    batches = list(unkept_files(shelf.journal.reading, files))
    assert [len(batch) for batch in batches] == [1, 1]
    assert {file.path.name for batch in batches for file in batch} == names
    assert all(isinstance(file, MediaFile) for batch in batches for file in batch)
    assert batches[0][0].day < batches[1][0].day < datetime.now(UTC).date()
