"""Two hosts that train together, as docs/quality.md shows it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts import Host, hosts_on_a_switch

ROOT = Path(__file__).parents[4]
_PORT = 29500
_MAMBAAD = "from service.cli.main import main; main()"


class TrainingHost:
    """A host with a working folder; its number is the node rank that torchrun gets."""

    def __init__(self, host: Host, leader: Host, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self._leader = leader

    def train(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start this host's part of a training; its output is a pipe."""
        self.folder.mkdir(exist_ok=True)
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": self.host.interface,
        }
        command = [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes", "2", "--node-rank", str(self.host.number), "--nproc-per-node", "1"),
            *("--master-addr", self._leader.address, "--master-port", str(_PORT)),
            *("--no-python", sys.executable, "-c", _MAMBAAD, "train", *arguments),
        ]
        with self.host.entered():
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip


@contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[TrainingHost, TrainingHost]]:
    """Make the hosts; skips without root, except in CI, which has it."""
    with hosts_on_a_switch("first", "second") as (first, second):
        yield (
            TrainingHost(first, first, folder / "first"),
            TrainingHost(second, first, folder / "second"),
        )
