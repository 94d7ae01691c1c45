"""The spool: durable, bounded, for one station, and what it has after a kill."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.station.machine.faults import ErrorCode
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict
from service.station.parts import PartInspection, SpooledPart
from service.station.spool import (
    Spool,
    SpoolFailure,
    SpoolIsFull,
    SpoolLimits,
    SpoolUnusable,
)

ROOT = Path(__file__).parents[3]
LIMITS = SpoolLimits(min_free_bytes=0)
NG = Outcome(Verdict.NG, score=0.75)


def a_part(job=1, **changes):
    inspections = (PartInspection("bolt", f"id-{job}", ("top", "side/2")),)
    moment = datetime(2026, 11, 29, 12, tzinfo=UTC)
    return replace(
        SpooledPart(job, 1, 100 + job, f"cell-{job} \u00e4'", moment, inspections), **changes
    )


@pytest.fixture
def spool(tmp_path):
    opened = Spool.open(tmp_path, LIMITS)
    yield opened
    opened.close()


def reopened(spool, tmp_path):
    spool.close()
    return Spool.open(tmp_path, LIMITS)


def test_a_part_is_there_after_a_restart_with_its_images_and_what_was_told(spool, tmp_path):
    spool.add(a_part())
    spool.add_image(1, "top", b"top")
    spool.add_image(1, "side/2", b"side")
    spool.tell(1, NG)
    spool = reopened(spool, tmp_path)
    assert spool.parts == [a_part(told=NG)]
    assert (spool.image(1, "top"), spool.image(1, "side/2")) == (b"top", b"side")
    assert spool.image(1, "other") is None
    result = spool.parts[0].result()
    assert (result.verdict, result.score, result.trigger_number) == (Verdict.NG, 7_500, 101)
    spool.close()


def test_a_part_leaves_when_the_plc_and_the_archive_have_it(spool, tmp_path):
    both = (PartInspection("bolt", "one", ("top",)), PartInspection("nut", "two", ("side",)))
    spool.add(a_part(inspections=both))
    spool.add_image(1, "top", b"top")
    spool.settle(1)
    spool.archived(1, "one")
    assert [i.is_archived for i in spool.parts[0].inspections] == [True, False]
    spool.archived(1, "two")
    assert spool.parts == []
    assert list((tmp_path / "images").iterdir()) == []
    spool.archived(1, "two")  # the service answered twice
    spool.tell(1, NG)
    assert spool.find(1) is None


def test_an_archived_part_stays_until_the_plc_has_its_result(spool, tmp_path):
    spool.add(a_part(inspections=(PartInspection("bolt", "one", ("top",)),)))
    spool.archived(1, "one")
    spool = reopened(spool, tmp_path)
    assert len(spool.parts) == 1
    spool.settle(1)
    assert spool.parts == []
    spool.close()


def test_a_number_is_never_used_twice(spool, tmp_path):
    assert spool.next_job == 1
    spool.add(a_part(7))
    spool.settle(7)
    spool.archived(7, "id-7")
    spool = reopened(spool, tmp_path)
    assert spool.next_job == 8
    spool.close()


def test_images_of_parts_that_have_left_are_swept_at_the_start(spool, tmp_path):
    spool.add(a_part())
    spool.add_image(1, "top", b"12345")
    for name in ("99-top", ".1-top.half", "strange"):
        (tmp_path / "images" / name).write_bytes(b"x")
    spool = reopened(spool, tmp_path)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["1-top"]
    spool.close()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (SpoolLimits(max_parts=1, min_free_bytes=0), "1 parts wait"),
        (SpoolLimits(max_bytes=3, min_free_bytes=0), "images have 3 bytes"),
        (SpoolLimits(min_free_bytes=2**62), "bytes free, expected"),
    ],
)
def test_a_full_spool_takes_no_part_and_says_so(tmp_path, limits, message):
    spool = Spool.open(tmp_path, LIMITS)
    spool.add(a_part())
    spool.add_image(1, "top", b"123")
    spool.close()
    spool = Spool.open(tmp_path, limits)
    with pytest.raises(SpoolIsFull, match=message) as raised:
        spool.add(a_part(2))
    assert raised.value.code is ErrorCode.SPOOL_FULL
    assert len(spool.parts) == 1
    spool.close()


def test_a_full_disk_is_a_failure_and_the_part_is_not_there(spool, tmp_path):
    pages = spool._connection.execute("PRAGMA page_count").fetchone()[0]
    spool._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(SpoolFailure, match="full") as raised:
        spool.add(a_part(part_id="x" * 100_000))
    assert raised.value.code is ErrorCode.SPOOL_UNWRITABLE
    assert spool.parts == []
    spool = reopened(spool, tmp_path)
    assert spool.parts == []
    spool.close()


def test_an_image_that_cannot_be_written_is_a_failure(spool, tmp_path):
    (tmp_path / "images").rmdir()
    (tmp_path / "images").write_text("a file")
    with pytest.raises(SpoolFailure, match="image cannot be written"):
        spool.add_image(1, "top", b"x")


def test_a_second_station_on_the_folder_is_refused(spool, tmp_path):
    with pytest.raises(SpoolUnusable, match="own folder"):
        Spool.open(tmp_path, LIMITS)


def test_a_file_that_is_no_spool_is_refused(tmp_path):
    (tmp_path / "spool.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(SpoolUnusable, match="cannot be opened"):
        Spool.open(tmp_path, LIMITS)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("PRAGMA user_version = 2", "its schema is version 2, expected 1"),
        ("ALTER TABLE parts DROP COLUMN recipe", "no such column: recipe"),
        ("UPDATE parts SET inspections = '[{\"x\": 1}]'", "row of job 1 cannot be read"),
        ("UPDATE parts SET told = '[9, 0, 0, null]'", "row of job 1 cannot be read"),
        ("UPDATE parts SET triggered_at = 'yesterday'", "row of job 1 cannot be read"),
        (None, "malformed|damaged|not a database"),
    ],
)
def test_a_spool_that_is_damaged_or_of_another_version_is_refused(tmp_path, spoil, message):
    spool = Spool.open(tmp_path, LIMITS)
    for job in range(1, 60):
        spool.add(a_part(job))
    spool.close()
    file = tmp_path / "spool.sqlite"
    if spoil is None:
        content = bytearray(file.read_bytes())
        content[4096:8192] = b"\xa5" * 4096
        file.write_bytes(content)
    else:
        with sqlite3.connect(file) as connection:
            connection.execute(spoil)
        connection.close()
    with pytest.raises(SpoolUnusable, match=message) as raised:
        Spool.open(tmp_path, LIMITS)
    assert "move the folder away" in str(raised.value)


KILLED = """
import os, signal, sys
from pathlib import Path
from service.station.spool import Spool
from tests.service.station.test_spool import LIMITS, NG, a_part

spool = Spool.open(Path(sys.argv[1]), LIMITS)
for job in (1, 2, 3):
    spool.add(a_part(job))
spool.tell(1, NG)
spool.settle(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_everything_that_was_written_is_there(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, env=environment, check=False
    )
    assert answer.returncode == -signal.SIGKILL
    spool = Spool.open(tmp_path, LIMITS)
    assert spool.parts == [a_part(1, told=NG, is_settled=True), a_part(2), a_part(3)]
    assert spool.next_job == 4
    spool.close()


def test_it_writes_through_to_the_disk(spool):
    assert spool._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_outcome_comes_back_as_it_was_told(spool, tmp_path):
    told = Outcome(Verdict.INPUT_PROBLEM, Reason.IMAGE_FROZEN, FailSafe.STOP)
    spool.add(a_part())
    spool.tell(1, told)
    spool = reopened(spool, tmp_path)
    assert spool.parts[0].told == told
    spool.close()
    with sqlite3.connect(tmp_path / "spool.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_folder_that_comes_back_empty_gets_all_parts_again(tmp_path):
    folder = tmp_path / "spool"
    spool = Spool.open(folder, LIMITS)
    spool.add(a_part(1))
    spool.add_image(1, "top", b"lost")
    spool.look()
    shutil.rmtree(folder)
    for method in (spool.look, spool.reopen, lambda: spool.add(a_part(2))):
        with pytest.raises(SpoolFailure, match="spool"):
            method()
    folder.mkdir()
    spool.reopen()
    spool.look()
    spool.add(a_part(3))
    spool.add_image(3, "top", b"new")
    assert spool.image_bytes == 3
    spool = reopened(spool, folder)
    assert [part.job for part in spool.parts] == [1, 3]
    spool.close()


def test_a_folder_that_is_moved_away_and_back_has_its_parts_and_images(tmp_path):
    folder, away = tmp_path / "spool", tmp_path / "away"
    spool = Spool.open(folder, LIMITS)
    spool.add(a_part(1))
    spool.add_image(1, "top", b"kept")
    folder.rename(away)
    with pytest.raises(SpoolFailure, match="No such file"):
        spool.look()
    with pytest.raises(SpoolFailure):
        spool.reopen()
    away.rename(folder)
    spool.reopen()
    spool.look()
    spool.tell(1, NG)
    spool = reopened(spool, folder)
    assert (spool.parts, spool.image(1, "top")) == ([a_part(1, told=NG)], b"kept")
    spool.close()


def test_a_folder_with_parts_of_another_spool_is_not_taken_while_the_station_runs(tmp_path):
    folder, other = tmp_path / "spool", tmp_path / "other"
    foreign = Spool.open(other, LIMITS)
    foreign.add(a_part(7))
    foreign.close()
    spool = Spool.open(folder, LIMITS)
    shutil.rmtree(folder)
    other.rename(folder)
    for _ in range(2):
        with pytest.raises(SpoolFailure, match="restart the station"):
            spool.reopen()
    spool.close()
    foreign = Spool.open(folder, LIMITS)
    assert [part.job for part in foreign.parts] == [7]
    foreign.close()
