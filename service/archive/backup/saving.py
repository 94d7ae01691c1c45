"""Makes a backup while the service runs."""

import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, NullPool, bindparam, create_engine, func, select, update

from model.durable import rename_if_free, sync_folder, write_durably
from service.archive import events
from service.archive.backup.files import FileKey, kept_files, media_in, place_file, sync_tree
from service.archive.backup.manifest import (
    JOURNAL_FILE,
    MANIFEST_FILE,
    MEDIA_FOLDER,
    BackupFailed,
    Manifest,
    Progress,
    no_progress,
    sha256_of,
)
from service.archive.migrate import schema_of
from service.archive.records import MediaState
from service.archive.sqlite.connections import Readers
from service.archive.sqlite.copying import copy_database
from service.archive.tables import inspections, views
from service.errors import JournalUnavailable


@dataclass(frozen=True, slots=True)
class Saved:
    """A backup that was made."""

    folder: Path
    manifest: Manifest


def backup(folder: Path, target: Path, progress: Progress = no_progress) -> Saved:
    """Copy the archive in `folder` to the new folder `target`; a running service is not disturbed.

    The rows are those of one moment. Files are linked where source and target are on one disk, and
    copied otherwise. Raises `BackupFailed`; then there is no `target`.
    """
    if target.exists():
        raise BackupFailed(f"{target} exists: give the name of a new folder")
    if not (folder / JOURNAL_FILE).exists():
        raise BackupFailed(f"{folder} has no journal")
    staging = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        staging.mkdir(parents=True)
        manifest = _save(folder, staging, progress)
        if not rename_if_free(staging, target):
            raise BackupFailed(f"{target} exists: give the name of a new folder")
    except (OSError, JournalUnavailable) as error:
        raise BackupFailed(f"the backup {target} was not made: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Saved(target, manifest)


def _save(folder: Path, staging: Path, progress: Progress) -> Manifest:
    readers = Readers(folder / JOURNAL_FILE)
    try:
        with readers.reading() as connection:
            copy_database(connection, staging / JOURNAL_FILE, partial(progress, "journal"))
            keys = set(kept_files(connection))
        nbytes, missing = _save_media(folder, staging, keys, progress)
        with readers.reading() as connection:
            deleted = missing - set(kept_files(connection))
    finally:
        readers.close()
    manifest = _describe(
        staging,
        deleted,
        media_files=len(keys) - len(missing),
        media_bytes=nbytes,
        missing_files=len(missing - deleted),
    )
    sync_tree(staging)
    write_durably(staging / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode() + b"\n")
    sync_folder(staging)
    return manifest


def _save_media(
    folder: Path, staging: Path, keys: set[FileKey], progress: Progress
) -> tuple[int, set[FileKey]]:
    """Save the files of `keys`; return their bytes, and the keys whose files are not there."""
    nbytes, missing = 0, set(keys)
    for key, file in media_in(folder / MEDIA_FOLDER):
        if key not in missing:
            continue
        try:
            place_file(file.path, staging / file.path.relative_to(folder))
        except FileNotFoundError:  # the retention has just deleted it
            continue
        missing.discard(key)
        nbytes += file.nbytes
        progress("media", 1 - len(missing) / len(keys))
    return nbytes, missing


def _describe(
    staging: Path,
    deleted: Iterable[FileKey],
    *,
    media_files: int,
    media_bytes: int,
    missing_files: int,
) -> Manifest:
    """Mark files in the copy that were deleted during the backup, and describe the copy."""
    path = staging / JOURNAL_FILE
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        for key in deleted:
            _mark_deleted(connection, key)
        count = connection.execute(select(func.count()).select_from(inspections)).scalar_one()
        newest = events.last_number(connection)
        revision = schema_of(connection).revision
    assert revision is not None, "the journal is open elsewhere, and so has a schema"
    return Manifest(
        created_at=datetime.now(UTC),
        schema_revision=revision,
        journal_bytes=path.stat().st_size,
        journal_sha256=sha256_of(path),
        inspections=count,
        newest_event=newest,
        media_files=media_files,
        media_bytes=media_bytes,
        missing_files=missing_files,
    )


def _mark_deleted(connection: Connection, key: FileKey) -> None:
    kind = "map" if key.is_map else "image"
    changes = {f"{kind}_state": MediaState.DELETED.value, f"{kind}_deleted_at": datetime.now(UTC)}
    begin = datetime.combine(key.day, time(), UTC)
    of_day = select(inspections.c.inspection_id).where(
        inspections.c.received_at >= begin, inspections.c.received_at < begin + timedelta(days=1)
    )
    connection.execute(
        update(views)
        .where(
            views.c[f"{kind}_sha256"] == bindparam("sha256"),
            views.c[f"{kind}_state"] == MediaState.KEPT.value,
            views.c.inspection_id.in_(of_day),
        )
        .values(changes),
        {"sha256": key.sha256},
    )
