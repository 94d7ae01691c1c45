"""Write files so that they survive a power cut, complete or not at all.

write_durably(folder / "state.json", text.encode())
"""

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_durably(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write `data` to `path` in one step: a reader sees the old file or the new one."""
    replace_file(path, data, mode)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Like `write_durably`, but a power cut may bring back the old file.

    Raises `OSError` and leaves the old file. `mode` applies to a new file, less the umask.
    """
    staging = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_through(staging, "xb", data, mode)
        staging.replace(path)
    finally:
        with suppress(OSError):
            staging.unlink(missing_ok=True)


def append_durably(path: Path, line: bytes) -> Callable[[], None]:
    """Append a line, or leave the file unchanged; return a function that removes the line."""
    size = path.stat().st_size if path.exists() else 0

    def take_back() -> None:
        os.truncate(path, size)

    try:
        _write_through(path, "ab", line)
    except OSError:
        with suppress(OSError):
            take_back()
        raise
    return take_back


def rename_if_free(folder: Path, target: Path) -> bool:
    """Move a complete folder to `target` in one step; return False if `target` exists."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync_folder(target.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows cannot open folders, nor needs to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_through(path: Path, open_mode: str, data: bytes, mode: int = 0o666) -> None:
    with open(path, open_mode, opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
