"""A service that is killed while it deletes leaves an archive that is sound or mends itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.archive.checking.database import check_database
from service.archive.checking.files import check_hashes, check_rows, check_strays
from service.archive.checking.problems import Fault
from service.archive.checking.rollups import check_rollups
from service.archive.records import MediaState
from tests.service.archive.shelf import Shelf, open_shelf

ROOT = Path(__file__).parents[4]
SINKS = ("mes",)
SETTINGS = {"rows_days": 700, "retention_interval_s": 0.01}

KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from service.archive.media.files import Media
from tests.service.archive.retention.test_killed import SETTINGS, SINKS
from tests.service.archive.shelf import open_shelf

folder, place, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def count_down():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

with open_shelf(folder) as shelf:
    if place == "file":
        delete = Media.delete
        Media.delete = lambda *a, **k: (count_down(), delete(*a, **k))[1]
    else:
        @event.listens_for(Engine, "before_cursor_execute")
        def execute(connection, cursor, statement, *_):
            if statement.startswith(("DELETE", "UPDATE")):
                count_down()
    retention = shelf.retention(sinks=SINKS, **SETTINGS)
    for _ in range(20):
        retention.run()
"""


def kill_retention(folder: Path, place: str, number: int) -> None:
    """Run the retention in another process, which is killed at a step."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), place, str(number)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120, check=False,
        capture_output=True,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def faults(shelf: Shelf) -> set[Fault]:
    """Return the kinds of faults, files of the last hour included."""
    reading, media = shelf.journal.reading, shelf.media
    for path in media.folder.rglob("*.*"):
        if path.is_file():
            os.utime(path, (time.time() - 7200,) * 2)
    checks = [
        check_database(reading), check_rows(reading, media), check_hashes(media),
        check_strays(reading, media), check_rollups(reading),
    ]  # fmt: skip
    return {problem.fault for check in checks for problem in check}


@pytest.mark.parametrize(
    ("place", "number"),
    [("file", 33), ("row", 4), ("row", 8)],
    ids=str,
)
def test_a_kill_costs_nothing_that_is_protected(tmp_path, place, number):
    folder = tmp_path / "archive"
    with open_shelf(folder) as shelf:
        rows_due = shelf.add(30, age_days=800)
        media_due = shelf.add(30, age_days=40)
        held, kept = shelf.add(3, age_days=800), shelf.add(3, age_days=1)
        shelf.hold(*held)
        shelf.deliver("mes", 66)
        undelivered = shelf.add(3, age_days=800)
    kill_retention(folder, place, number)
    with open_shelf(folder) as shelf:
        assert faults(shelf) <= {Fault.NO_ROW}
        shelf.media.count()
        retention = shelf.retention(sinks=SINKS, **SETTINGS)
        retention.run()
        protected = {*held, *undelivered, *kept}
        assert shelf.ids() == {*media_due, *protected}
        assert shelf.files() == shelf.files_of(*protected)
        assert faults(shelf) == set()
        states = {shelf.find(identifier).views[0].image_state for identifier in media_due}
        assert states == {MediaState.DELETED}
        assert not shelf.ids() & {*rows_due}
