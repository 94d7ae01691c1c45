"""The manifest of a backup, and the parts of an archive that a backup has.

manifest = read_manifest(Path("/mnt/backup/2026-11-29"))
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

JOURNAL_FILE = "journal.db"
MANIFEST_FILE = "manifest.json"
MEDIA_FOLDER = "media"

_CHUNK_BYTES = 2**20

Progress: TypeAlias = Callable[[str, float], None]
"""Called with the step ("journal", "media", ...) and the fraction of it that is done."""


class BackupFailed(Exception):
    """The backup was not made, and the target is as before; the message says why."""


class Manifest(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    created_at: datetime
    schema_revision: str
    journal_bytes: int
    journal_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    inspections: int
    newest_event: int
    media_files: int
    media_bytes: int
    missing_files: int = Field(description="kept by rows, but not there when the backup was made")


def read_manifest(backup: Path) -> Manifest:
    """Return the manifest of a backup. Raises `ValueError` if it has none that is complete."""
    path = backup / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{backup} is no complete backup: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(
            f"{path} is damaged, or of a newer release: {'.'.join(map(str, fault['loc']))}: "
            f"{fault['msg']}"
        ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def no_progress(_step: str, _fraction: float) -> None:
    """Report nothing."""
