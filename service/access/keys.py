"""API keys: who may ask, and for what. Only a key's SHA-256 is ever stored.

A key has 256 random bits: its plain hash cannot be guessed back, and needs no slow one. The file is
JSON, `{"keys": [{"name", "sha256", "scopes", ...}]}`; `mambaad keys` writes it, and a service that
runs notices the change (`service.access.key_ring`).
"""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from model.bounded import read_regular
from model.durable import write_durably
from service.http.declaration import Scope

_PREFIX = "mambaad_"
_MAX_FILE_BYTES = 2**20
_MAX_KEYS = 4096


class ApiKey(BaseModel):
    """One key, without the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="who uses it; in the log")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: frozenset[Scope] = Field(min_length=1)
    rate_per_s: float | None = Field(
        None, gt=0, le=1e6, description="images; None: as for all keys"
    )
    created: datetime | None = None


class KeysUnusable(ValueError):
    """A keys file that cannot be read, or that says something impossible."""


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: Annotated[list[ApiKey], FailFast(), Field(max_length=_MAX_KEYS)]


class Stamp(NamedTuple):
    """What differs once a file was written, replaced, or given to somebody else."""

    modified_ns: int
    changed_ns: int
    size: int
    inode: int
    device: int
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """Return the stamp of a file in this state."""
        return cls(
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_size,
            status.st_ino,
            status.st_dev,
            status.st_mode,
        )


def digest(secret: str) -> str:
    """Return what is stored of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a keys file. Raises `KeysUnusable`, also where others than its owner may write it."""
    return read_stamped(path)[0]


def read_stamped(path: Path) -> tuple[tuple[ApiKey, ...], Stamp]:
    """Read a keys file, and say of which state of it the keys are. Raises `KeysUnusable`."""
    try:
        content, status = read_regular(path, _MAX_FILE_BYTES)
    except OSError as error:
        raise KeysUnusable(f"the keys file {path} cannot be read: {error.strerror}") from error
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KeysUnusable(f"others may write the keys file {path}: chmod go-w {path}")
    return _parsed(path, content), Stamp.of(status)


def _parsed(path: Path, content: bytes) -> tuple[ApiKey, ...]:
    try:
        keys = _KeysFile.model_validate_json(content).keys
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise KeysUnusable(f"the keys file {path} is wrong at {place}: {first['msg']}") from error
    for what, values in (
        ("name", [key.name for key in keys]),
        ("hash", [key.sha256 for key in keys]),
    ):
        if len(set(values)) < len(values):
            raise KeysUnusable(f"the keys file {path} has a {what} twice")
    return tuple(keys)


def add_key(path: Path, name: str, scopes: Sequence[Scope], rate_per_s: float | None = None) -> str:
    """Make a key, append its hash to the file, and return the key: nothing else ever shows it."""
    secret = _PREFIX + secrets.token_urlsafe(32)
    with _changing(path) as keys:
        if any(key.name == name for key in keys):
            raise KeysUnusable(f"there is a key named {name!r} already")
        try:
            key = ApiKey(
                name=name,
                sha256=digest(secret),
                scopes=frozenset(scopes),
                rate_per_s=rate_per_s,
                created=datetime.now(UTC).replace(microsecond=0),
            )
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise KeysUnusable(f"{first['loc'][0]}: {first['msg']}") from error
        keys.append(key)
    return secret


def remove_key(path: Path, name: str) -> None:
    """Take a key out of the file: requests with it are refused from the next second on."""
    with _changing(path) as keys:
        kept = [key for key in keys if key.name != name]
        if len(kept) == len(keys):
            raise KeysUnusable(f"there is no key named {name!r}")
        keys[:] = kept


@contextmanager
def _changing(path: Path) -> Iterator[list[ApiKey]]:
    """Hand out the keys to change, then replace the file at once; one writer at a time."""
    try:
        path.absolute().parent.stat()  # a folder that is missing would be made for the lock
        lock = FileLock(path.with_name(f".{path.name}.lock"), mode=0o600).acquire()
    except OSError as error:
        raise KeysUnusable(f"{path.parent} cannot be opened: {error.strerror}") from error
    try:
        with lock:
            keys = list(read_keys(path)) if path.exists() else []
            yield keys
            _replace(path, keys)
    except OSError as error:
        raise KeysUnusable(f"{path} cannot be written: {error.strerror}") from error


def _replace(path: Path, keys: list[ApiKey]) -> None:
    lines = [key.model_dump(mode="json", exclude_none=True) for key in keys]
    write_durably(path, (json.dumps({"keys": lines}, indent=2) + "\n").encode(), 0o600)
