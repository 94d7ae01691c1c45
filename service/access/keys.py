"""API keys and their file, which stores only the SHA-256 of each key.

A key has 256 random bits, so a fast hash is safe. The file is JSON, `{"keys": [{"name", "sha256",
"scopes", ...}]}`; `mambaad keys` writes it, and a running service notices the change
(`service.access.key_ring`).
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
    """A key's entry in the file, without its secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="its user; appears in the log")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: frozenset[Scope] = Field(min_length=1)
    rate_per_s: float | None = Field(
        None, gt=0, le=1e6, description="images a second; None: the rate of the settings"
    )
    created: datetime | None = None


class KeysUnusable(ValueError):
    """A keys file that cannot be read or is invalid."""


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: Annotated[list[ApiKey], FailFast(), Field(max_length=_MAX_KEYS)]


class Stamp(NamedTuple):
    """The state of a file; it changes with its content, owner and permissions."""

    modified_ns: int
    changed_ns: int
    size: int
    inode: int
    device: int
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """Return the stamp of a file's status."""
        return cls(
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_size,
            status.st_ino,
            status.st_dev,
            status.st_mode,
        )


def digest(secret: str) -> str:
    """Return a key's hash, as stored in the file."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a keys file. Raises `KeysUnusable`, also if group or others may write it."""
    return read_stamped(path)[0]


def read_stamped(path: Path) -> tuple[tuple[ApiKey, ...], Stamp]:
    """Read a keys file and its stamp at that moment. Raises `KeysUnusable`."""
    try:
        content, status = read_regular(path, _MAX_FILE_BYTES)
    except OSError as error:
        raise KeysUnusable(f"the keys file {path} cannot be read: {error.strerror}") from error
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KeysUnusable(f"others may write the keys file {path}: run chmod go-w {path}")
    return _parsed(path, content), Stamp.of(status)


def _parsed(path: Path, content: bytes) -> tuple[ApiKey, ...]:
    try:
        keys = _KeysFile.model_validate_json(content).keys
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise KeysUnusable(f"the keys file {path} is invalid at {place}: {first['msg']}") from error
    for what, values in (
        ("name", [key.name for key in keys]),
        ("hash", [key.sha256 for key in keys]),
    ):
        if len(set(values)) < len(values):
            raise KeysUnusable(f"the keys file {path} has the same {what} twice")
    return tuple(keys)


def add_key(path: Path, name: str, scopes: Sequence[Scope], rate_per_s: float | None = None) -> str:
    """Create a key, append its hash to the file, and return the key, which is stored nowhere."""
    key, secret = new_key(name, scopes, rate_per_s)
    with _changing(path) as keys:
        keys[:] = with_key(keys, key)
    return secret


def new_key(
    name: str, scopes: Sequence[Scope], rate_per_s: float | None = None
) -> tuple[ApiKey, str]:
    """Return a new key's entry, and the key itself. Raises `KeysUnusable`."""
    secret = _PREFIX + secrets.token_urlsafe(32)
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
    return key, secret


def with_key(keys: Sequence[ApiKey], key: ApiKey) -> list[ApiKey]:
    """Return the keys with another one. Raises `KeysUnusable` if its name is taken."""
    if any(other.name == key.name for other in keys):
        raise KeysUnusable(
            f"there is already a key named {key.name!r}: remove it, or use another name"
        )
    if len(keys) >= _MAX_KEYS:
        raise KeysUnusable(f"there are {len(keys)} keys, which is the limit: remove one")
    return [*keys, key]


def without_key(keys: Sequence[ApiKey], name: str) -> list[ApiKey]:
    """Return the keys without one. Raises `KeysUnusable` if there is none of the name."""
    remaining = [key for key in keys if key.name != name]
    if len(remaining) == len(keys):
        raise KeysUnusable(f"there is no key named {name!r}")
    return remaining


def remove_key(path: Path, name: str) -> None:
    """Remove a key from the file; a running service refuses it within a second."""
    with _changing(path) as keys:
        keys[:] = without_key(keys, name)


@contextmanager
def _changing(path: Path) -> Iterator[list[ApiKey]]:
    """Yield the keys to change, then replace the file atomically; one writer at a time."""
    try:
        path.absolute().parent.stat()  # else FileLock would create a missing folder
        lock = FileLock(path.with_name(f".{path.name}.lock"), mode=0o600).acquire()
    except OSError as error:
        raise KeysUnusable(f"{path.parent} cannot be opened: {error.strerror}") from error
    try:
        with lock:
            keys = list(read_keys(path)) if path.exists() else []
            yield keys
            write_keys(path, keys)
    except OSError as error:
        raise KeysUnusable(f"{path} cannot be written: {error.strerror}") from error


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    """Replace the file durably. Raises `OSError`."""
    lines = [key.model_dump(mode="json", exclude_none=True) for key in keys]
    write_durably(path, (json.dumps({"keys": lines}, indent=2) + "\n").encode(), 0o600)
