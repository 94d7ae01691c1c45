"""A backup is of one moment, and a restore puts back all of it or refuses."""

import json
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text, update

from model.inspection import Decision
from service.archive.backup import BackupFailed, RestoreRefused, backup, files, restore, saving
from service.archive.backup.manifest import sha256_of
from service.archive.media import MAP_SUFFIX, Media
from service.archive.positions import positions, save_position
from service.archive.records import MediaState, ViewRecord
from service.archive.sqlite.failures import JournalUnusable
from service.archive.sqlite_journal import SqliteJournal
from service.archive.tables import views
from tests.service.archive.journals import (
    NODE,
    NOW,
    found,
    opened,
    part,
    record,
    rows_of,
)

PNG = b"\x89PNG\r\n\x1a\n"


def part_with_files(folder: Path, number: int):
    """Make an inspection whose image and raw map are files."""
    media = Media(folder / "media", min_free_bytes=0)
    image, _ = media.put(PNG + bytes([number]), NOW.date())
    raw_map, _ = media.put(PNG + bytes([number, 1]), NOW.date(), MAP_SUFFIX)
    kept = {"image_state": MediaState.KEPT, "map_state": MediaState.KEPT}
    return part(views=(ViewRecord(image_sha256=image, map_sha256=raw_map, **kept),))


def media_of(folder: Path) -> dict[str, bytes]:
    media = folder / "media"
    paths = [path for path in media.rglob("*") if path.is_file()]
    return {path.relative_to(media).as_posix(): path.read_bytes() for path in paths}


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def folder(tmp_path):
    """An archive with five parts, whose service has stopped."""
    folder = tmp_path / "archive"
    with opened(folder) as journal:
        record(journal, *(part_with_files(folder, number) for number in range(5)))
        journal.write_now(lambda c: save_position(c, "mqtt", 3))
    return folder


@pytest.fixture
def saved(folder, tmp_path):
    return backup(folder, tmp_path / "backup").folder


def test_a_backup_while_parts_are_recorded_is_of_one_moment(folder, tmp_path):
    stop, steps = threading.Event(), []
    with opened(folder) as journal:

        def line():
            while not stop.is_set():
                record(journal, part_with_files(folder, 7), part())

        thread = threading.Thread(target=line)
        thread.start()
        try:
            made = backup(folder, tmp_path / "backup", lambda *step: steps.append(step))
        finally:
            stop.set()
            thread.join()
    manifest = made.manifest
    assert made.folder == tmp_path / "backup"
    assert set(contents(made.folder)) >= {"journal.db", "manifest.json"}
    assert {name for name, _ in steps} == {"journal", "media"}
    assert all(0 <= fraction <= 1 for _, fraction in steps)
    restored = tmp_path / "restored"
    restore(made.folder, restored)
    with opened(restored) as journal:
        rows = rows_of(journal)
        assert len(rows) == manifest.inspections >= 5
        assert [row.number for row in rows] == list(range(1, manifest.newest_event + 1))
    assert len(media_of(restored)) == manifest.media_files >= 10
    assert manifest.missing_files == 0


def test_a_restored_archive_is_the_same(folder, saved, tmp_path):
    restored = restore(saved, tmp_path / "new" / "archive")
    assert restored.replaced is None
    assert media_of(tmp_path / "new" / "archive") == media_of(folder)
    with opened(folder) as before, opened(tmp_path / "new" / "archive") as after:
        assert rows_of(after) == rows_of(before)
        with after.reading() as connection:
            assert positions(connection) == {"mqtt": 3}
        assert record(after, part())[0].number == 6


def test_a_backup_on_another_disk_is_copied(folder, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    backup(folder, tmp_path / "backup")
    assert media_of(tmp_path / "backup") == media_of(folder)
    assert all(p.stat().st_nlink == 1 for p in (tmp_path / "backup").rglob("*.png"))


def test_a_file_that_the_retention_deletes_meanwhile_is_marked_as_deleted(
    folder, tmp_path, monkeypatch
):
    """The backup's rows say so, and its check is clean."""
    image = next((folder / "media").rglob("*.png"))
    journal = SqliteJournal.open(folder, NODE)

    def lose_one(source, target):
        if image.exists():
            image.unlink()
            kind = "map" if image.name.endswith("map.png") else "image"
            sha256 = views.c[f"{kind}_sha256"] == image.name.partition(".")[0]
            change = update(views).where(sha256).values({f"{kind}_state": "deleted"})
            journal.write_now(lambda c: c.execute(change))
        files.place_file(source, target)

    monkeypatch.setattr(saving, "place_file", lose_one)
    made = backup(folder, tmp_path / "backup")
    journal.close()
    assert (made.manifest.media_files, made.manifest.missing_files) == (9, 0)
    restore(made.folder, tmp_path / "restored")
    with opened(tmp_path / "restored") as journal:
        states = [state for row in rows_of(journal) for state in states_of(row.views[0])]
    assert sorted(states) == ["deleted", *["kept"] * 9]


def states_of(view):
    return view.image_state.value, view.map_state.value


def test_a_file_that_was_lost_by_hand_is_counted_as_missing(folder, tmp_path):
    next((folder / "media").rglob("*.png")).unlink()
    manifest = backup(folder, tmp_path / "backup").manifest
    assert (manifest.media_files, manifest.missing_files) == (9, 1)
    assert restore(tmp_path / "backup", tmp_path / "restored").manifest == manifest


def test_a_backup_overwrites_nothing_and_leaves_nothing_when_it_fails(
    folder, saved, tmp_path, monkeypatch
):
    def names():
        ignored = ("-wal", "-shm")  # a reader leaves them
        return {name for name in contents(tmp_path) if not name.endswith(ignored)}

    before = names()
    with pytest.raises(BackupFailed, match="give the name of a new folder"):
        backup(folder, saved)
    with pytest.raises(BackupFailed, match="has no journal"):
        backup(tmp_path / "none", tmp_path / "backup-2")
    with pytest.raises(BackupFailed, match="was not made"):
        backup(folder, folder / "journal.db" / "inside")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "place_file", full)
    with pytest.raises(BackupFailed, match="No space left on device"):
        backup(folder, tmp_path / "backup-3")
    assert names() == before


def test_a_restore_replaces_an_archive_only_by_force(folder, saved, tmp_path):
    with opened(folder) as journal:
        record(journal, later := part())
    with pytest.raises(RestoreRefused, match="give --force to move that aside"):
        restore(saved, folder)
    restored = restore(saved, folder, force=True)
    with opened(folder) as journal:
        assert found(journal, later) is None
        assert len(rows_of(journal)) == 5
    with opened(restored.replaced) as journal:
        assert found(journal, later) == replace(later, node=NODE, number=6, station_number=6)
    assert len(media_of(restored.replaced)) == 10


def test_a_running_service_is_not_pulled_away_from_under(folder, saved):
    with opened(folder), pytest.raises(RestoreRefused, match="stop that service first"):
        restore(saved, folder, force=True)
    with opened(folder) as journal:
        assert len(rows_of(journal)) == 5


def damage_journal(saved: Path) -> None:
    with (saved / "journal.db").open("r+b") as file:
        file.seek(5_000)
        file.write(b"damage")


def damage_media(saved: Path) -> None:
    path = next((saved / "media").rglob("*.png"))
    path.unlink()
    path.write_bytes(b"another picture")


def lose_media(saved: Path) -> None:
    next((saved / "media").rglob("*.png")).unlink()


def lose_rows(saved: Path) -> None:
    with closing(sqlite3.connect(saved / "journal.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM events")
    fit_manifest(saved)


def break_index(saved: Path) -> None:
    """Take an entry out of an index, as a failing disk could, and fit the manifest to that."""
    with closing(sqlite3.connect(saved / "journal.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'category', 'part_id') "
            "WHERE name = 'inspections_of_category'"
        )
    fit_manifest(saved)


def fit_manifest(saved: Path) -> None:
    path = saved / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["journal_sha256"] = sha256_of(saved / "journal.db")
    path.write_text(json.dumps(manifest), "utf-8")


def miscount(saved: Path) -> None:
    path = saved / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(manifest | {"inspections": 6}), "utf-8")


def lose_manifest(saved: Path) -> None:
    (saved / "manifest.json").unlink()


def of_newer_release(saved: Path) -> None:
    path = saved / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"format_version": 2}))


def of_newer_schema(saved: Path) -> None:
    with closing(sqlite3.connect(saved / "journal.db", isolation_level=None)) as connection:
        connection.execute("UPDATE archive_revision SET version_num = '0099'")
        connection.execute("UPDATE compatibility SET oldest_writer = '0099'")
    fit_manifest(saved)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (damage_journal, "journal.db is damaged: its hash"),
        (break_index, "journal.db is damaged: "),
        (damage_media, r"media/2026-11-29/../.* is damaged"),
        (lose_media, "has 9 of the 10 images and raw maps"),
        (miscount, "has 5 inspections, and its manifest says 6"),
        (lose_manifest, "is no complete backup"),
        (of_newer_release, "is damaged, or of a newer release: format_version"),
        (of_newer_schema, "needs a release with schema '0099' or newer"),
    ],
)
def test_a_backup_that_is_not_whole_replaces_nothing(folder, saved, harm, why):
    harm(saved)
    before = contents(folder)
    with pytest.raises(RestoreRefused, match=why):
        restore(saved, folder, force=True)
    assert contents(folder) == before
    with opened(folder) as journal:
        assert len(rows_of(journal)) == 5


@pytest.mark.parametrize("renames", range(4))
def test_a_restore_that_is_cut_off_is_told_and_can_be_run_again(
    folder, saved, renames, monkeypatch
):
    """At each of the renames that replace the archive."""
    rename, done = Path.rename, []

    def cut_off(path, target):
        if path.parent.name.startswith((".restoring", "archive")):
            done.append(path)
            if len(done) > renames:
                raise OSError(5, "Input/output error")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut_off)
        with pytest.raises(RestoreRefused, match=r"cut off in the middle .*run it again"):
            restore(saved, folder, force=True)
    with pytest.raises(JournalUnusable, match="was cut off: run `mambaad archive restore` again"):
        SqliteJournal.open(folder, NODE)
    restore(saved, folder)
    with opened(folder) as journal:
        assert len(rows_of(journal)) == 5
    assert len(media_of(folder)) == 10


def test_a_backup_of_an_archive_after_a_kill_has_what_its_log_has(folder, tmp_path):
    """The log beside the journal belongs to it, though no service runs."""
    torn = tmp_path / "torn"
    with opened(folder) as journal:
        record(journal, last := part(told=Decision.NG))
        shutil.copytree(folder, torn)
    assert (torn / "journal.db-wal").stat().st_size > 0
    (torn / "journal.db-shm").unlink()
    made = backup(torn, tmp_path / "backup")
    assert made.manifest.inspections == 6
    restore(made.folder, tmp_path / "restored")
    with opened(tmp_path / "restored") as journal:
        assert found(journal, last).told == Decision.NG
        assert journal.write_now(lambda c: c.scalar(text("SELECT count(*) FROM views"))) == 6
