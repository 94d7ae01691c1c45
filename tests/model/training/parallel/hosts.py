"""Two hosts on one machine: network namespaces with a cable between them.

Each has an address, a working folder and processes of its own; only the machine's clock, cores and
disk are shared. Making them needs root and Debian's iproute2.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.programs import program

ROOT = Path(__file__).parents[4]
ADDRESSES = ("10.77.0.1", "10.77.0.2")
_PORT = 29500
_MAMBAAD = "from service.cli.main import main; main()"


class Host:
    """A network namespace; `number` is the node rank that torchrun gets."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self.folder = folder
        self.namespace = f"mambaad-{os.getpid()}-{number}"
        self.interface = f"port{number}"

    def start(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a program on this host; its output is a pipe."""
        self.folder.mkdir(exist_ok=True)
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": self.interface,
        }
        return subprocess.Popen(
            [program("ip"), "netns", "exec", self.namespace, *command],
            cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def train(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start this host's part of a training, as docs/training.md shows it."""
        return self.start(
            [
                *(sys.executable, "-m", "torch.distributed.run"),
                *("--nnodes", "2", "--node-rank", str(self.number), "--nproc-per-node", "1"),
                *("--master-addr", ADDRESSES[0], "--master-port", str(_PORT)),
                *("--no-python", sys.executable, "-c", _MAMBAAD, "train", *arguments),
            ]
        )

    def lose_power(self) -> None:
        """Kill all programs of this host."""
        pids = _ip("netns", "pids", self.namespace).split()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def pull_the_cable(self) -> None:
        """Take this host's interface down."""
        _ip("-n", self.namespace, "link", "set", self.interface, "down")


@contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Make the hosts; skips without root, except in CI, which has it."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("needs root: only root may make network namespaces")
    hosts = (Host(0, folder / "first"), Host(1, folder / "second"))
    try:
        for host in hosts:
            _ip("netns", "add", host.namespace)
        first, second = hosts
        _ip(
            *("link", "add", first.interface, "netns", first.namespace, "type", "veth"),
            *("peer", "name", second.interface, "netns", second.namespace),
        )
        for host, address in zip(hosts, ADDRESSES, strict=True):
            _ip("-n", host.namespace, "addr", "add", f"{address}/24", "dev", host.interface)
            for interface in ("lo", host.interface):
                _ip("-n", host.namespace, "link", "set", interface, "up")
        yield hosts
    finally:
        for host in hosts:
            with suppress(subprocess.CalledProcessError):
                host.lose_power()
                _ip("netns", "del", host.namespace)


def _ip(*arguments: str) -> str:
    done = subprocess.run([program("ip"), *arguments], check=True, capture_output=True, text=True)
    return done.stdout
