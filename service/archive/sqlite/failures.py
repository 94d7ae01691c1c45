"""Tells an error of the disk, which fails every write, from an error of one change."""

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import JournalUnavailable
from service.versions.state import StateUnreadable

_RETRY_AFTER_S = 5
_PRIMARY = 0xFF  # an extended code of SQLite has the primary one in its low byte
_FULL = "the disk is full: free some space"
_NOT_OPENED = "make the folder and its files readable and writable"
_IN_USE = "another program writes to it: stop that program"
_DAMAGED = "it is damaged: stop the service, and restore a backup with `mambaad archive restore`"
_ADVICE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: "it is read-only: make the folder and its files writable",
    sqlite3.SQLITE_IOERR: "the disk reports an error: check the disk",
    sqlite3.SQLITE_CANTOPEN: _NOT_OPENED,
    sqlite3.SQLITE_PERM: _NOT_OPENED,
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_LOCKED: _IN_USE,
    sqlite3.SQLITE_PROTOCOL: _IN_USE,
    sqlite3.SQLITE_NOMEM: "the machine has too little memory",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
_PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}
_FULL_NUMBERS = {errno.ENOSPC, errno.EDQUOT}


class JournalUnusable(StateUnreadable):
    """The service cannot start with this archive; the message tells the operator why."""


class DiskFailed(Exception):
    """The journal's disk or files cannot be used; the message says why and what to do."""


def disk_failure(error: BaseException) -> str | None:
    """Return how the journal's disk failed and what to do; None if it did not."""
    if isinstance(error, DiskFailed | JournalUnusable):
        return str(error)
    if isinstance(error, PoolTimeout):
        return "too many readers are at work"
    advice = _ADVICE.get(primary_code(error))
    if isinstance(error, DBAPIError):
        error = error.orig or error
    return advice and f"{advice} ({error})"


def primary_code(error: BaseException | None) -> int:
    """Return the code of an error of SQLite, such as `sqlite3.SQLITE_FULL`; -1 of another."""
    if isinstance(error, DBAPIError):
        error = error.orig
    return getattr(error, "sqlite_errorcode", -1) & _PRIMARY if error else -1


def is_connection_good(error: BaseException) -> bool:
    """Return whether the connection is to be kept after a failure.

    After a full disk, opening again would bring back a commit that the disk took half. While the
    files are elsewhere, closing would delete the log of those that took their place.
    """
    return isinstance(error, DiskFailed) or primary_code(error) in _PASSING


def file_failure(error: OSError) -> DiskFailed:
    """Return the failure of a file operation."""
    return DiskFailed(_FULL if error.errno in _FULL_NUMBERS else f"{_NOT_OPENED} ({error})")


def unwritable(failure: str) -> JournalUnavailable:
    """Return the error for whoever wants to write."""
    return JournalUnavailable(f"the journal cannot be written: {failure}", _RETRY_AFTER_S)


def unreadable(failure: str) -> JournalUnavailable:
    """Return the error for whoever wants to read."""
    return JournalUnavailable(f"the journal cannot be read: {failure}", _RETRY_AFTER_S)
