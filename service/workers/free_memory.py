"""How much memory the machine, or the service's container, still has."""

import re
from pathlib import Path

from service.workers.child.ceiling import memory_bytes

_MACHINE = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")
_LEAST_RESERVE = 256 * 2**20
_RESERVE_SHARE = 0.05


def free_bytes(machine: Path = _MACHINE, container: Path = _CONTAINER) -> int | None:
    """Return the bytes that processes can still take; None if the system does not say.

    Memory that only caches files counts as free.
    """
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", machine.read_text("ascii"), re.MULTILINE)
    except OSError:
        return None
    if match is None:
        return None
    free = 1024 * int(match[1])
    try:
        limit = int((container / "memory.max").read_text("ascii"))
        used = int((container / "memory.current").read_text("ascii"))
        stat = (container / "memory.stat").read_text("ascii")
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return free
    cached = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
    return min(free, limit - used + (int(cached[1]) if cached else 0))


def reserve_bytes() -> int:
    """Return the bytes that should stay free: for images, loads and other programs."""
    return max(_LEAST_RESERVE, int(_RESERVE_SHARE * memory_bytes()))
