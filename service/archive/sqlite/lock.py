"""One service for each archive folder: a lock that ends with the process, however it ends.

release = lock_folder(state_dir / "archive")
"""

import logging
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from service.archive.sqlite.failures import JournalUnusable

logger = logging.getLogger("service.lock")

LOCK_FILE = ".lock"
RESTORE_MARKER = "restore-unfinished"
"""There while a restore replaces the files, and after one that was cut off then."""


def lock_folder(folder: Path) -> Callable[[], object]:
    """Create and lock a folder; return a function that unlocks it.

    Only warns if the folder cannot be created or its file system cannot lock. Raises
    `JournalUnusable` if another process has locked it.
    """
    lock = FileLock(folder / LOCK_FILE, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise JournalUnusable(
            f"{folder} is the archive of another running service: give each service its own "
            "state_dir"
        ) from error
    except (OSError, NotImplementedError) as error:
        logger.warning(
            "%s cannot be locked (%s): make sure that no other service uses it", folder, error
        )
    return lock.release


def check_whole(folder: Path) -> None:
    """Raise `JournalUnusable` if a restore was cut off while it replaced the archive."""
    if (folder / RESTORE_MARKER).exists():
        raise JournalUnusable(
            f"a restore of {folder} was cut off: run `mambaad archive restore` again"
        )
