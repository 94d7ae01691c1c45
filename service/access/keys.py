"""API keys: who may ask, and for what. Only a key's SHA-256 is ever stored.

A key has 256 random bits: its plain hash cannot be guessed back, and needs no slow one. The file is
JSON, `{"keys": [{"name", "sha256", "scopes", ...}]}`; `mambaad keys` writes it, and a service that
runs notices the change.
"""

import hashlib
import hmac
import json
import logging
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.durable import write_durably
from service.http.declaration import Scope

logger = logging.getLogger("service.keys")

_PREFIX = "mambaad_"
_MAX_SECRET = 256
_RECHECK_S = 1.0


class ApiKey(BaseModel):
    """One key, without the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="who uses it; in the log")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: frozenset[Scope] = Field(min_length=1)
    rate_per_s: float | None = Field(None, gt=0, description="images; None: as for all keys")
    created: datetime | None = None


class KeysUnusable(ValueError):
    """A keys file that cannot be read, or that says something impossible."""


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey] = []


def digest(secret: str) -> str:
    """Return what is stored of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a keys file. Raises `KeysUnusable`, also where others than its owner may write it."""
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise KeysUnusable(f"the keys file {path} cannot be read: {error.strerror}") from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KeysUnusable(f"others may write the keys file {path}: chmod go-w {path}")
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


class KeyRing:
    """The keys of a file, followed as the file changes."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises `KeysUnusable`."""
        self._path = path
        self._keys = read_keys(path)
        self._seen = self._stamp()
        self._checked = time.monotonic()

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys as last read: the same tuple until the file is read again."""
        return self._keys

    def find(self, secret: str) -> ApiKey | None:
        """Return the key that this is, in a time that does not tell how near a wrong one came."""
        self._follow()
        given = digest(secret[:_MAX_SECRET])
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def _follow(self) -> None:
        """Read the file again if it changed; one that cannot be used changes nothing."""
        now = time.monotonic()
        if now - self._checked < _RECHECK_S:
            return
        self._checked = now
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = read_keys(self._path)
        except KeysUnusable as error:
            logger.error("%s; the keys read before still hold", error)  # noqa: TRY400 - no traceback
        else:
            logger.info("read %d API keys", len(self._keys))

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
