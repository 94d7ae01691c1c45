"""A limit of a worker's memory, so that a too large checkpoint fails alone.

On Linux, RLIMIT_DATA counts private writable memory: an allocation beyond it raises an error, which
refuses the load or halves the batch. Without the limit, the kernel would kill any process. A worker
on a GPU has no limit, because CUDA maps far more memory than it uses. A container's limit applies
as well, to all processes together.
"""

import logging
import os
from pathlib import Path

logger = logging.getLogger("service.ceiling")

_LEAST_DEFAULT = 4 * 2**30
"""The least default: with less, mapped but unused memory would exceed the limit."""

_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def ceiling_bytes(device: str, setting: int | None) -> int | None:
    """Return a worker's limit: the setting, or by default all memory; None on a GPU."""
    if device != "cpu":
        return None
    return max(_LEAST_DEFAULT, memory_bytes()) if setting is None else setting


def memory_bytes() -> int:
    """Return the memory of the machine, or of the container if that is less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(machine, int(_CONTAINER.read_text("ascii")))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return machine


def set_ceiling(most_bytes: int | None) -> None:
    """Limit this process's memory, or log that the system cannot."""
    if most_bytes is None:
        return
    try:
        import resource  # noqa: PLC0415 - not on Windows

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            most_bytes = min(most_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, hard))
    except (ImportError, OSError, ValueError) as error:
        logger.warning("this worker's memory has no limit: %s", error)
