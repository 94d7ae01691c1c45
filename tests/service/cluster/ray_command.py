"""Ray's program `ray` on a busy machine: `python -m tests.service.cluster.ray_command start ...`.

It sees only the processes of its own network namespace, as on a host of its own: `ray stop` ends
every Ray process that it sees.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.service.cluster.patience import be_patient, free_ports

_process_iter = psutil.process_iter
_NETWORK = Path("/proc/self/ns/net").readlink()


def _processes_here(*args, **options) -> Iterator[psutil.Process]:
    for process in _process_iter(*args, **options):
        try:
            if Path(f"/proc/{process.pid}/ns/net").readlink() == _NETWORK:
                yield process
        except OSError:
            continue


def main() -> None:
    psutil.process_iter = _processes_here
    be_patient()
    if sys.argv[1] == "start":
        ports = free_ports()
        ports["dashboard_agent_grpc_port"] = ports.pop("metrics_agent_port")
        sys.argv += [f"--{name.replace('_', '-')}={port}" for name, port in ports.items()]
    from ray.scripts.scripts import main as ray  # noqa: PLC0415 - after the lines above

    sys.argv[0] = "ray"
    ray()


if __name__ == "__main__":
    main()
