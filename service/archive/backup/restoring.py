"""Puts a backup in the place of an archive, after it was verified in full."""

import secrets
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import NullPool, create_engine, func, select
from sqlalchemy.exc import DatabaseError

from model.durable import sync_folder, write_durably
from service.archive.backup.files import (
    FileKey,
    copy_file,
    kept_files,
    media_in,
    place_file,
    sync_tree,
)
from service.archive.backup.manifest import (
    JOURNAL_FILE,
    MEDIA_FOLDER,
    Manifest,
    Progress,
    no_progress,
    read_manifest,
    sha256_of,
)
from service.archive.migrate import SchemaUnusable, schema_of
from service.archive.sqlite.failures import JournalUnusable
from service.archive.sqlite.lock import RESTORE_MARKER, FolderLock
from service.archive.tables import inspections

_JOURNAL_FILES = (JOURNAL_FILE, f"{JOURNAL_FILE}-wal", f"{JOURNAL_FILE}-shm")


class RestoreRefused(Exception):
    """The backup is not in place; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that is in place; `replaced` is the folder with the archive that was there."""

    manifest: Manifest
    replaced: Path | None


def restore(
    source: Path, folder: Path, *, force: bool = False, progress: Progress = no_progress
) -> Restored:
    """Verify the backup `source`, and put it into the archive's `folder`.

    With `force`, an archive that is there is moved to a folder `replaced-<time>` in `folder`. The
    sinks go on from where they were at the backup: what was delivered since is delivered again, and
    numbers of events and stations that were given since are given again. Raises `RestoreRefused`;
    then nothing was replaced, unless the disk refused in the middle of that, as the message says.
    """
    try:
        manifest = read_manifest(source)
        lock = FolderLock(folder)
        lock.hold()
    except ValueError as error:
        raise RestoreRefused(str(error)) from error
    except JournalUnusable as error:
        raise RestoreRefused(f"{error}; or stop that service first") from error
    staging = folder / f".restoring.{secrets.token_hex(8)}"
    try:
        _check_free(folder, force=force)
        _stage(source, staging, progress)
        _verify(staging, manifest, progress)
        _give_log(staging / JOURNAL_FILE)
        sync_tree(staging)
        return Restored(manifest, _replace(staging, folder))
    except OSError as error:
        raise RestoreRefused(f"the backup was not restored: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.release()


def _check_free(folder: Path, *, force: bool) -> None:
    is_taken = any((folder / name).exists() for name in (*_JOURNAL_FILES, MEDIA_FOLDER))
    if is_taken and not force and not (folder / RESTORE_MARKER).exists():
        raise RestoreRefused(
            f"{folder} has an archive: give --force to move that aside, or another folder"
        )


def _stage(source: Path, staging: Path, progress: Progress) -> None:
    (staging / MEDIA_FOLDER).mkdir(parents=True)
    copy_file(source / JOURNAL_FILE, staging / JOURNAL_FILE)
    progress("journal", 1.0)
    for _, file in media_in(source / MEDIA_FOLDER):
        place_file(file.path, staging / file.path.relative_to(source))


def _verify(staging: Path, manifest: Manifest, progress: Progress) -> None:
    """Raise `RestoreRefused` unless the copy is all that the manifest says, and intact."""
    journal = staging / JOURNAL_FILE
    if sha256_of(journal) != manifest.journal_sha256:
        raise RestoreRefused("the backup's journal.db is damaged: its hash is not the manifest's")
    engine = create_engine(f"sqlite:///{journal}", poolclass=NullPool)
    try:
        with engine.connect() as connection:
            faults = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalars().all()
            schema_of(connection).check_usable()
            count = connection.execute(select(func.count()).select_from(inspections)).scalar_one()
            keys = set(kept_files(connection))
    except SchemaUnusable as error:
        raise RestoreRefused(f"the backup's journal.db cannot be used: {error}") from error
    except DatabaseError as error:
        raise RestoreRefused(f"the backup's journal.db is damaged: {error.orig}") from error
    if faults != ["ok"]:
        raise RestoreRefused(f"the backup's journal.db is damaged: {faults[0]}")
    if count != manifest.inspections:
        raise RestoreRefused(
            f"the backup has {count} inspections, and its manifest says {manifest.inspections}"
        )
    _verify_media(staging, keys, manifest.media_files, progress)


def _verify_media(staging: Path, keys: set[FileKey], expected: int, progress: Progress) -> None:
    present = 0
    for key, file in media_in(staging / MEDIA_FOLDER):
        if sha256_of(file.path) != key.sha256:
            raise RestoreRefused(f"the backup's {file.path.relative_to(staging)} is damaged")
        present += key in keys
        progress("media", min(present / max(expected, 1), 1.0))
    if present != expected:
        raise RestoreRefused(
            f"the backup has {present} of the {expected} images and raw maps that its manifest says"
        )


def _give_log(journal: Path) -> None:
    """Have SQLite use a write-ahead log again, so that readers need not wait for a service."""
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").close()


def _replace(staging: Path, folder: Path) -> Path | None:
    """Move the old archive aside and the new one into its place, the journal last.

    Until the marker is removed, no service starts here.
    """
    write_durably(folder / RESTORE_MARKER, b"a restore was begun and has not ended\n")
    try:
        replaced = _swap(staging, folder)
        (folder / RESTORE_MARKER).unlink()
        sync_folder(folder)
    except OSError as error:
        raise RestoreRefused(
            f"the restore was cut off in the middle ({error}): run it again"
        ) from error
    return replaced


def _swap(staging: Path, folder: Path) -> Path | None:
    replaced = folder / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    old = [folder / name for name in (*_JOURNAL_FILES, MEDIA_FOLDER) if (folder / name).exists()]
    if old:
        replaced.mkdir()
        for path in old:
            path.rename(replaced / path.name)
        sync_folder(replaced)
    for name in (MEDIA_FOLDER, JOURNAL_FILE):
        (staging / name).rename(folder / name)
    sync_folder(folder)
    return replaced if old else None
