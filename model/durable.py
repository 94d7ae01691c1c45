"""Files that survive a power cut, written whole or not at all: the one way to write them.

write_durably(folder / "state.json", text.encode())
"""

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_durably(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Put `data` under `path` in one step: a reader sees the old file or the new one."""
    replace_file(path, data, mode)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Do all of `write_durably` but the last step: a power cut may bring back the old file.

    Raises `OSError`, and then the old file stands. `mode` is a new file's, less the umask.
    """
    staging = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_through(staging, "xb", data, mode)
        staging.replace(path)
    finally:
        with suppress(OSError):
            staging.unlink(missing_ok=True)


def append_durably(path: Path, line: bytes) -> Callable[[], None]:
    """Append a line, or leave the file as it was; return what takes the line back."""
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
    """Move a complete folder to `target` in one step; False when another one stands there."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync_folder(target.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows opens no folder, and does it by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_through(path: Path, how: str, data: bytes, mode: int = 0o666) -> None:
    with open(path, how, opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
