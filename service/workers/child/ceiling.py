"""A ceiling for a worker's memory: a checkpoint too large fails there, and the machine lives.

Linux counts private memory that can be written (RLIMIT_DATA): an allocation beyond the ceiling is
an error like any other, which refuses the load or halves the batch. Without one, the machine kills
whichever process it likes. CUDA maps far more than it uses, so a worker on a GPU gets no ceiling;
there, and beside this one, a container's own limit holds for all processes together.
"""

import logging
import os
from pathlib import Path

logger = logging.getLogger("service.ceiling")

_LEAST_DEFAULT = 4 * 2**30
"""Of a machine smaller than this, what is mapped is more than what is used."""

_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def ceiling_bytes(device: str, asked: int | None) -> int | None:
    """Return the ceiling of a worker: `asked`, or what the machine or the container has."""
    if device != "cpu":
        return None
    return max(_LEAST_DEFAULT, memory_bytes()) if asked is None else asked


def memory_bytes() -> int:
    """Return the memory of the machine, or of the container where that has less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(machine, int(_CONTAINER.read_text("ascii")))
    except (OSError, ValueError):  # no cgroup of version 2, or "max"
        return machine


def set_ceiling(most_bytes: int | None) -> None:
    """Refuse this process memory beyond the ceiling, where the system can."""
    if most_bytes is None:
        return
    try:
        import resource  # noqa: PLC0415 - not on Windows

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            most_bytes = min(most_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, hard))
    except (ImportError, OSError, ValueError) as error:
        logger.warning("this worker's memory has no ceiling: %s", error)
