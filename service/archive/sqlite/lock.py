"""One service for each archive folder: a lock that ends with the process, however it ends.

lock = FolderLock(state_dir / "archive")
lock.hold()
...
lock.release()
"""

import logging
from pathlib import Path

from filelock import FileLock, Timeout

from service.archive.sqlite.failures import JournalUnusable

logger = logging.getLogger("service.lock")

LOCK_FILE = ".lock"
RESTORE_MARKER = "restore-unfinished"
"""There while a restore replaces the files, and after one that was cut off then."""


class FolderLock:
    """The lock on a folder, which is created with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / LOCK_FILE, thread_local=False)
        self._has_warned = False

    def hold(self) -> None:
        """Lock the folder if this process has not locked it yet.

        Only warns if the folder cannot be made now, or its file system cannot lock; the next call
        tries again. Raises `JournalUnusable` if another process has locked it.
        """
        if self._lock.is_locked:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise JournalUnusable(
                f"{self._folder} is the archive of another running service: give each service its "
                "own state_dir"
            ) from error
        except (OSError, NotImplementedError) as error:
            self._warn(error)

    def check_whole(self) -> None:
        """Raise `JournalUnusable` if a restore was cut off while it replaced the archive."""
        if (self._folder / RESTORE_MARKER).exists():
            raise JournalUnusable(
                f"a restore of {self._folder} was cut off: run `mambaad archive restore` again"
            )

    def release(self) -> None:
        """Unlock the folder."""
        self._lock.release()

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s cannot be locked (%s): make sure that no other service uses it",
                self._folder,
                error,
            )
