"""Copies an archive while the service runs, and puts such a copy in an archive's place.

    saved = backup(state_dir / "archive", Path("/mnt/backup/2026-11-29"))
    restored = restore(Path("/mnt/backup/2026-11-29"), state_dir / "archive")

A backup is a folder:

    manifest.json     what it holds; it is written last
    journal.db        one moment of the journal, without a log beside it
    media/            the images and raw maps that its rows keep, as in the archive
"""

from service.archive.backup.manifest import BackupFailed, Manifest
from service.archive.backup.restoring import Restored, RestoreRefused, restore
from service.archive.backup.saving import Saved, backup

__all__ = [
    "BackupFailed",
    "Manifest",
    "RestoreRefused",
    "Restored",
    "Saved",
    "backup",
    "restore",
]
