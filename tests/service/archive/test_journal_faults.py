"""The journal when its process is killed, its disk fails, or its files are not what they should be.

A process that is killed here records in a child, which prints each inspection that was answered.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from service.archive.migrate import MIGRATIONS
from service.archive.sqlite.failures import JournalUnusable
from service.archive.sqlite.opening import OpenJournal
from service.archive.sqlite_journal import SqliteJournal
from service.errors import JournalUnavailable
from tests.service.archive.journals import (
    LATER_S,
    NODE,
    counts_of,
    events_of,
    found,
    metrics,
    opened,
    part,
    record,
    refusal,
    rows_of,
)

ROOT = Path(__file__).parents[3]

RECORDS = """
import asyncio, sys
from pathlib import Path
from tests.service.archive.journals import opened, part

folder, at_once = Path(sys.argv[1]), int(sys.argv[2])

async def main(journal):
    loop = asyncio.get_running_loop()

    async def line(name):
        while True:
            one = part(station=name)
            await journal.record(one, loop.time() + 60)
            print(one.inspection_id, flush=True)

    await asyncio.gather(*(line(f"s{number}") for number in range(at_once)))

with opened(folder) as journal:
    asyncio.run(main(journal))
"""

KILLED_AT_COMMIT = """
import os, signal, sys
from pathlib import Path
from service.archive.sqlite import thread
from tests.service.archive.journals import opened, part, record

def kill(group):
    if any(write.future is not None for write in group):
        os.kill(os.getpid(), signal.SIGKILL)

with opened(Path(sys.argv[1])) as journal:
    one = part()
    print(one.inspection_id, flush=True)
    thread.settle = kill    # called when the commit has returned
    record(journal, one)
"""

KILLED_IN_A_GROUP = """
import os, signal, sys
from pathlib import Path
from service.archive.sqlite import group
from tests.service.archive.journals import opened, part, record

with opened(Path(sys.argv[1])) as journal:
    record(journal, one := part())
    print(one.inspection_id, flush=True)
    # All rows are written by then, and nothing is committed.
    group.events.last_number = lambda connection: os.kill(os.getpid(), signal.SIGKILL)
    record(journal, *(part() for _ in range(5)))
"""


def child(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def output_of(program: str, *arguments: object) -> list[str]:
    process = child(program, *arguments)
    output, _ = process.communicate(timeout=LATER_S)
    assert process.returncode == -signal.SIGKILL
    return output.split()


def is_whole(folder: Path) -> bool:
    with closing(sqlite3.connect(folder / "journal.db")) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def check_numbers(journal: SqliteJournal) -> None:
    """Every inspection has its event, and every station's numbers are without a gap."""
    rows = rows_of(journal)
    assert [(row.number, row.station_number) for row in rows] == [
        (number, station_number) for number, _, station_number in events_of(journal)
    ]
    for station in {row.station for row in rows}:
        numbers = [row.station_number for row in rows if row.station == station]
        assert numbers == list(range(1, len(numbers) + 1))


def test_killed_while_many_record_it_has_all_that_was_answered(tmp_path):
    process = child(RECORDS, tmp_path, 16)
    answered = [process.stdout.readline() for _ in range(200)]
    process.kill()
    answered += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    with opened(tmp_path) as journal:
        ids = {row.inspection_id for row in rows_of(journal)}
        whole = [UUID(line.strip()) for line in answered if line.endswith("\n")]
        assert len(whole) >= 200
        assert set(whole) <= ids
        assert counts_of(journal) == {"OK": len(ids)}
        check_numbers(journal)
        record(journal, part(station="s0"))
        check_numbers(journal)
    assert is_whole(tmp_path)


def test_killed_between_commit_and_answer_it_has_the_inspection(tmp_path):
    (identifier,) = output_of(KILLED_AT_COMMIT, tmp_path)
    with opened(tmp_path) as journal:
        assert [str(row.inspection_id) for row in rows_of(journal)] == [identifier]
        check_numbers(journal)


def test_killed_in_the_middle_of_a_group_it_has_none_of_the_group(tmp_path):
    (identifier,) = output_of(KILLED_IN_A_GROUP, tmp_path)
    with opened(tmp_path) as journal:
        assert [str(row.inspection_id) for row in rows_of(journal)] == [identifier]
        assert counts_of(journal) == {"OK": 1}
        check_numbers(journal)


def limit_pages(journal: SqliteJournal, pages: int) -> None:
    journal.write_now(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}").all())


def until_writable(journal: SqliteJournal) -> None:
    ends = time.monotonic() + LATER_S
    while journal.failure:
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_full_disk_fails_writes_until_there_is_room_again(tmp_path, caplog):
    """SQLite itself says that the disk is full, at whichever of the writes comes then."""
    counted = metrics()
    with opened(tmp_path, metrics=counted) as journal:
        record(journal, first := part())
        limit_pages(journal, 1)  # that is: not one page more than now
        answered = [first]
        with pytest.raises(JournalUnavailable, match="the disk is full: free some space"):
            for _ in range(1_000):
                record(journal, one := part(told_reason="x" * 500))
                answered.append(one)
        assert "the disk is full" in journal.failure
        assert counted.journal_failed.collect()[0].samples[0].value == 1
        with pytest.raises(JournalUnavailable):
            record(journal, part(told_reason="x" * 5000), part(told_reason="x" * 5000))
        journal.record_soon(refusal(told_reason="x" * 50_000))
        assert [row.inspection_id for row in rows_of(journal)] == [
            p.inspection_id for p in answered
        ]
        while counted.refusals_dropped.collect()[0].samples[0].value != 1:
            time.sleep(0.01)
        limit_pages(journal, 1_000_000)
        assert journal.failure  # the change above was no trial: it wrote nothing
        until_writable(journal)
        assert counted.journal_failed.collect()[0].samples[0].value == 0
        record(journal, part(told_reason="x" * 500))
        assert len(rows_of(journal)) == len(answered) + 1
        check_numbers(journal)
    assert caplog.text.count("the journal cannot be written") == 1
    assert is_whole(tmp_path)


FILE_LIMIT = """
import asyncio, resource, signal, sys, time
from pathlib import Path
from service.errors import JournalUnavailable
from tests.service.archive.journals import opened, part, record, rows_of
from tests.service.archive.test_journal_faults import check_numbers

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, answered, refused = Path(sys.argv[1]), 0, 0
with opened(folder) as journal:
    record(journal, part())
    answered += 1
    start = (folder / "journal.db-wal").stat().st_size
    for more in range(0, 120_000, 1_777):    # the write fails at ever another byte
        resource.setrlimit(resource.RLIMIT_FSIZE, (start + more, resource.RLIM_INFINITY))
        try:
            record(journal, part(told_reason="x" * 3_000))
            answered += 1
        except JournalUnavailable as error:
            refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        record(journal, part())
        answered += 1
    check_numbers(journal)
    print(answered, refused, len(rows_of(journal)), flush=True)
"""


def test_a_disk_that_refuses_at_any_byte_of_a_commit_leaves_the_journal_whole(tmp_path):
    process = child(FILE_LIMIT, tmp_path)
    output, _ = process.communicate(timeout=2 * LATER_S)
    assert process.returncode == 0
    answered, refused, rows = map(int, output.split())
    assert refused > 10
    assert answered <= rows <= answered + refused  # a refused one may be there, if it says so
    with opened(tmp_path) as journal:
        assert len(rows_of(journal)) == rows
        check_numbers(journal)
    assert is_whole(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB, which only root can make."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]
    if (done := subprocess.run(mount, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"this root cannot mount a disk: {done.stderr}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_full_at_the_start_is_tried_again(small_disk):
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    with opened(small_disk / "archive") as journal:
        assert "the disk is full" in journal.failure
        with pytest.raises(JournalUnavailable, match="the disk is full"):
            record(journal, part())
        with pytest.raises(JournalUnavailable):
            rows_of(journal)
        ballast.unlink()
        until_writable(journal)
        record(journal, one := part())
        assert found(journal, one) is not None


def test_a_disk_that_fills_up_takes_writes_again_when_there_is_room(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * 2**20))
    answered = 0
    with opened(small_disk / "archive") as journal:
        with pytest.raises(JournalUnavailable, match="the disk is full"):
            while True:
                record(journal, part(told_reason="x" * 3_000))
                answered += 1
        assert answered > 10
        assert len(rows_of(journal)) == answered
        ballast.unlink()
        until_writable(journal)
        record(journal, part())
        assert len(rows_of(journal)) == answered + 1
        check_numbers(journal)
    assert is_whole(small_disk / "archive")


READ_ONLY = """
import os, sys
from pathlib import Path
from service.errors import JournalUnavailable
from tests.service.archive.journals import opened, part, record, rows_of
from tests.service.archive.test_journal_faults import until_writable

folder = Path(sys.argv[1])
folder.chmod(0o500)
with opened(folder / "archive") as journal:
    print(journal.failure)
    folder.chmod(0o700)
    until_writable(journal)
    record(journal, part())
for path in (folder / "archive").iterdir():
    path.chmod(0o400)
with opened(folder / "archive") as journal:
    print(journal.failure)
    try:
        record(journal, part())
    except JournalUnavailable as error:
        print(error)
    for path in (folder / "archive").iterdir():
        path.chmod(0o600)
    until_writable(journal)
    record(journal, part())
    assert len(rows_of(journal)) == 2
"""


def test_a_read_only_folder_or_file_is_told_and_used_again_when_it_is_writable(tmp_path):
    # Root may write where nobody may, unless the kernel takes that from it.
    as_others = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
    done = subprocess.run(
        [*(as_others if os.geteuid() == 0 else []), sys.executable, "-c", READ_ONLY, tmp_path],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    no_folder, read_only, error = done.stdout.splitlines()
    assert "make the folder and its files readable and writable" in no_folder
    assert "it is read-only: make the folder and its files writable" in read_only
    assert error.startswith("the journal cannot be written: it is read-only")


def leave_wal(folder: Path, parts: int) -> tuple[Path, list[str]]:
    """Record in a process that is killed; return its write-ahead log, and the ids in order."""
    process = child(RECORDS, folder, 1)
    answered = [process.stdout.readline().strip() for _ in range(parts)]
    process.kill()
    process.stdout.close()
    process.wait()
    return folder / "journal.db-wal", answered


@pytest.mark.parametrize("damage", ["cut", "garbled", "zeroed"])
def test_a_torn_last_page_loses_only_the_commit_that_it_belongs_to(tmp_path, damage):
    wal, answered = leave_wal(tmp_path, 20)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        copy = wal.read_bytes()
        before = [UUID(bytes=row[0]) for row in connection.execute(
            "SELECT inspection_id FROM inspections ORDER BY number"
        )]  # fmt: skip
        shutil.copytree(tmp_path, tmp_path / "torn")  # while it is open, and so has its log
    torn = tmp_path / "torn" / "journal.db-wal"
    assert len(copy) > 0
    frames = (len(copy) - 32) // (24 + 4096)
    last = 32 + last_commit(copy, frames) * (24 + 4096)
    middle = last + 24 + 2048
    rest = {"cut": b"", "garbled": os.urandom(2048), "zeroed": bytes(2048)}[damage]
    torn.write_bytes(copy[:middle] + rest)
    with opened(tmp_path / "torn") as journal:
        rows = rows_of(journal)
        assert [row.inspection_id for row in rows] == before[:-1]
        assert {UUID(identifier) for identifier in answered[:19]} <= {
            row.inspection_id for row in rows
        }
        check_numbers(journal)
        record(journal, part(station="s0"))
        check_numbers(journal)
    assert is_whole(tmp_path / "torn")


def last_commit(wal: bytes, frames: int) -> int:
    """Return the number of the last frame that ends a commit and is of the log's newest run."""
    salts = wal[16:24]
    last = -1
    for number in range(frames):
        at = 32 + number * (24 + 4096)
        header = wal[at : at + 24]
        if header[8:16] != salts:
            break
        if int.from_bytes(header[4:8], "big"):
            last = number
    return last


def test_two_services_on_one_folder(tmp_path):
    program = """
import sys, time
from pathlib import Path
from tests.service.archive.journals import opened
with opened(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""
    first = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with first:
        assert first.stdout.readline() == "open\n"
        with pytest.raises(JournalUnusable, match="another running service"):
            SqliteJournal.open(tmp_path, NODE)
        first.stdin.close()
    with opened(tmp_path) as journal:
        record(journal, part())


@pytest.mark.parametrize("content", [b"garbage" * 10_000, bytes(8192)])
def test_a_file_that_is_no_journal_is_refused_and_left(tmp_path, content):
    (tmp_path / "journal.db").write_bytes(content)
    with pytest.raises(JournalUnusable, match=r"is no journal .*restore a backup with .*move it"):
        SqliteJournal.open(tmp_path, NODE)
    assert (tmp_path / "journal.db").read_bytes() == content
    (tmp_path / "journal.db").rename(tmp_path / "away")
    with opened(tmp_path) as journal:
        record(journal, part())


def test_another_programs_database_is_refused_and_left(tmp_path):
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(JournalUnusable, match=r"another program made its tables \(theirs\)"):
        SqliteJournal.open(tmp_path, NODE)


def test_a_damaged_page_is_told_and_the_service_goes_on(tmp_path):
    with opened(tmp_path) as journal:
        record(journal, *(part() for _ in range(200)))
    path = tmp_path / "journal.db"
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 100] = os.urandom(100)
    path.write_bytes(content)
    try:
        with opened(tmp_path) as journal:
            with pytest.raises(JournalUnavailable, match=r"it is damaged: .*archive restore"):
                record(journal, part())
            assert journal.failure
    except JournalUnusable as error:
        assert "damaged" in str(error)


def test_files_that_are_taken_away_stop_the_writes_until_they_are_back(tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    folder = tmp_path / "archive"
    names = ["journal.db", "journal.db-wal", "journal.db-shm"]
    with opened(folder) as journal:
        record(journal, part())
        for name in names:
            (folder / name).rename(away / name)
        with pytest.raises(JournalUnavailable, match="was removed or replaced"):
            record(journal, part())
        assert not (folder / "journal.db").exists()
        for name in names:
            (away / name).rename(folder / name)
        until_writable(journal)
        record(journal, part())
        assert len(rows_of(journal)) == 2
    assert is_whole(folder)


def test_another_program_that_writes_for_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("service.archive.sqlite.connections._BUSY_S", 0.05)
    path = tmp_path / "journal.db"
    with (
        opened(tmp_path) as journal,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailable, match="another program writes to it"):
            record(journal, part())
        other.execute("ROLLBACK")
        until_writable(journal)
        record(journal, part())


ADD_A_COLUMN = '''"""Adds a column."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0004"
down_revision = "0003"
oldest_writer = "{oldest_writer}"


def upgrade() -> None:
    op.add_column("inspections", Column("colour", Text))
    op.create_table("lamps", Column("lamp", Text, primary_key=True))
'''


def later_migrations(folder: Path, oldest_writer: str) -> Path:
    """Return the migrations of a later release."""
    copy = Path(shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__")))
    (copy / "r0004_colour.py").write_text(ADD_A_COLUMN.format(oldest_writer=oldest_writer))
    return copy


def columns_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[1] for row in connection.execute("PRAGMA table_info(inspections)")}


def test_a_journal_of_an_older_schema_is_copied_and_then_migrated(tmp_path):
    folder = tmp_path / "archive"
    with opened(folder) as journal:
        record(journal, part(part_id="before"))
    later = later_migrations(tmp_path / "later", oldest_writer="0001")
    OpenJournal.open(folder / "journal.db", create=True, migrations=later).close()
    copy = folder / "journal.db.before-0004"
    assert "colour" in columns_of(folder / "journal.db")
    assert "colour" not in columns_of(copy)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT part_id FROM inspections").fetchall() == [("before",)]
    made = copy.stat().st_mtime_ns
    OpenJournal.open(folder / "journal.db", create=True, migrations=later).close()
    assert copy.stat().st_mtime_ns == made  # nothing to migrate, nothing to copy
    copy.replace(folder / "journal.db")
    with opened(folder) as journal:  # the copy is a journal of the release before
        record(journal, part())


def test_a_migration_that_fails_leaves_the_journal_as_it_was(tmp_path):
    folder = tmp_path / "archive"
    with opened(folder) as journal:
        record(journal, part())
    later = later_migrations(tmp_path / "later", oldest_writer="0001")
    with (later / "r0004_colour.py").open("a") as file:
        file.write("    op.execute('nonsense')\n")
    with pytest.raises(Exception, match="nonsense"):
        OpenJournal.open(folder / "journal.db", create=True, migrations=later)
    assert "colour" not in columns_of(folder / "journal.db")
    with opened(folder) as journal:
        record(journal, part())
        assert len(rows_of(journal)) == 2


def test_without_room_for_the_copy_a_journal_is_not_migrated(tmp_path, monkeypatch):
    folder = tmp_path / "archive"
    with opened(folder) as journal:
        record(journal, part())
    later = later_migrations(tmp_path / "later", oldest_writer="0001")
    usage = shutil.disk_usage(folder)._replace(free=100)
    monkeypatch.setattr("service.archive.sqlite.opening.disk_usage", lambda _: usage)
    with pytest.raises(JournalUnusable, match="and the disk has 100: free some space"):
        OpenJournal.open(folder / "journal.db", create=True, migrations=later)
    assert "colour" not in columns_of(folder / "journal.db")


def test_a_journal_of_a_newer_schema_is_used_if_that_only_adds(tmp_path, caplog):
    folder = tmp_path / "archive"
    later = later_migrations(tmp_path / "later", oldest_writer="0001")
    folder.mkdir()
    OpenJournal.open(folder / "journal.db", create=True, migrations=later).close()
    with opened(folder) as journal:
        record(journal, one := part())
        assert found(journal, one) is not None
        assert journal.write_now(lambda c: c.scalar(text("SELECT colour FROM inspections"))) is None
    assert "a newer release wrote the journal (schema 0004)" in caplog.text


def test_a_journal_that_only_a_newer_release_can_write_is_refused(tmp_path):
    folder = tmp_path / "archive"
    later = later_migrations(tmp_path / "later", oldest_writer="0004")
    folder.mkdir()
    OpenJournal.open(folder / "journal.db", create=True, migrations=later).close()
    with pytest.raises(JournalUnusable, match=r"needs a release with schema '0004' or newer.*Run"):
        SqliteJournal.open(folder, NODE)
    OpenJournal.open(folder / "journal.db", create=True, migrations=later).close()
