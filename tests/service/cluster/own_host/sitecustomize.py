"""Lets every program see only the processes of its network namespace, as on a host of its own.

Python runs this module at its start if this folder is in PYTHONPATH. Ray looks for its nodes on a
machine, and `ray stop` ends them, among all processes that it sees.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil

_process_iter = psutil.process_iter
_NETWORK = Path("/proc/self/ns/net").readlink()


def _processes_here(*args, **options) -> Iterator[psutil.Process]:
    for process in _process_iter(*args, **options):
        try:
            if Path(f"/proc/{process.pid}/ns/net").readlink() == _NETWORK:
                yield process
        except OSError:
            continue


psutil.process_iter = _processes_here
