"""Two Ray nodes on this machine, for all tests of the cluster."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]


@dataclass
class RayNodes:
    """The program that has the nodes, and their folder."""

    program: "subprocess.Popen[str]"
    folder: Path
    address: str = ""
    second: str = ""
    """The id of the second node."""

    def do(self, line: str) -> str:
        """Have a command obeyed; return what it prints after "done"."""
        assert self.program.stdin is not None
        self.program.stdin.write(line + "\n")
        self.program.stdin.flush()
        done, _, answer = self.read().partition(" ")
        assert done == "done"
        return answer

    def read(self) -> str:
        assert self.program.stdout is not None
        line = self.program.stdout.readline().strip()
        assert line, "the nodes ended"
        return line

    def processes(self) -> list[psutil.Process]:
        """All processes of these nodes."""
        mine = []
        for process in psutil.process_iter():
            try:
                if any(str(self.folder) in word for word in process.cmdline()):
                    mine.append(process)
            except psutil.Error:
                continue
        return mine


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[RayNodes]:
    """Two nodes of one core each; at the end no process and no file of theirs is left."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path, because it has sockets
    environment = os.environ | {"RAY_TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.service.cluster.nodes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    nodes = RayNodes(program, folder)
    try:
        nodes.address = nodes.read()
        nodes.second = nodes.do("add two")
        yield nodes
    finally:
        program.communicate(timeout=120)
        _, alive = psutil.wait_procs(nodes.processes(), timeout=60)
        for process in alive:
            process.kill()
        shutil.rmtree(folder)
    assert program.returncode == 0
    assert alive == []
