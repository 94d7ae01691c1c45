"""Waits for changes in a folder: by the system's events, or by looking again and again.

async with watching(Path("shots"), poll=None) as changes:
    await changes.wait(longest_s=0.1)
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from watchfiles import awatch

_STEP_MS = 1
"""How often events are collected while a part waits for its image."""
_LOOK_EVERY_S = 0.005
_SAFETY_S = 0.05
"""A file counts this late at the latest if an event is lost."""
_MOUNTS = Path("/proc/self/mounts")
_NETWORK = (
    "9p", "afs", "ceph", "cifs", "coda", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs",
    "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "vboxsf", "virtiofs",
)  # fmt: skip
"""File systems whose changes by other machines cause no events here."""


class Changes:
    """Wakes a waiter after a change; `is_polling` looks without waiting for one."""

    def __init__(self, *, is_polling: bool) -> None:
        self._is_polling = is_polling
        self._changed = asyncio.Event()

    def note(self) -> None:
        """Wake the waiter."""
        self._changed.set()

    async def wait(self, longest_s: float) -> None:
        """Wait for a change since the latest call, at most as long as said."""
        if self._is_polling:
            await asyncio.sleep(min(longest_s, _LOOK_EVERY_S))
            return
        try:
            async with asyncio.timeout(min(longest_s, _SAFETY_S)):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()


@asynccontextmanager
async def watching(folder: Path, *, poll: bool | None) -> AsyncIterator[Changes]:
    """Collect changes; `poll` None polls network drives, and hears events elsewhere."""
    is_polling = await asyncio.to_thread(is_on_network, folder) if poll is None else poll
    changes = Changes(is_polling=is_polling)
    if is_polling:
        yield changes
        return
    stop = asyncio.Event()
    task = asyncio.create_task(_collect(folder, changes, stop))
    try:
        await asyncio.sleep(0)  # the task begins to watch before anybody looks at the files
        yield changes
    finally:
        stop.set()
        await task


async def _collect(folder: Path, changes: Changes, stop: asyncio.Event) -> None:
    try:
        async for _ in awatch(
            folder, watch_filter=None, debounce=_STEP_MS, step=_STEP_MS, stop_event=stop,
            recursive=False,
        ):  # fmt: skip
            changes.note()
    except OSError:  # the folder is gone, or the system has no watch left: safety looks remain
        return


def is_on_network(folder: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether a folder is on a network drive, as far as the system tells."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
        resolved = folder.resolve()
    except OSError:
        return False
    kinds = {}
    for line in lines:
        _, point, kind, *_ = line.split()
        kinds[Path(point.replace("\\040", " "))] = kind
    place = next(
        place for place in (resolved, *resolved.parents) if place in kinds or not place.name
    )
    return kinds.get(place) in _NETWORK
