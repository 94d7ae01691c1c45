"""Runs an image like a container engine, with Linux namespaces only.

The file system is read-only except volumes and /tmp. The program is process 1 of its own process
namespace; it runs as the image's user, without capabilities, and cannot gain any.
"""

import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from docker.image_check.image import Image
from docker.image_check.programs import CheckFailed, failure

OPEN_FILES = 1024  # the limit on most systems
DEVICES = ("null", "zero", "full", "random", "urandom")
TMPFS = "noexec,nosuid,nodev"


@dataclass(frozen=True)
class Volume:
    """A folder of this machine that the sandbox mounts."""

    here: Path
    inside: str
    writable: bool = False


@dataclass(frozen=True)
class Sandbox:
    """An image's mounted file system, and its volumes.

    Its programs see the processes of the program `beside`, as containers of one pod may.
    """

    image: Image
    root: Path
    volumes: Sequence[Volume]
    environment: Mapping[str, str]
    tmp_options: str = f"size=1g,mode=1777,{TMPFS}"
    beside: "subprocess.Popen[bytes] | None" = None

    @contextmanager
    def start(self, *command: str, output: Path) -> Iterator["subprocess.Popen[bytes]"]:
        """Start a program; the returned process ends with it and has its exit status."""
        with output.open("wb") as sink:
            outer = subprocess.Popen(
                self._outer(command), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
            )
        try:
            yield outer
        finally:
            kill(outer)

    def run(self, *command: str, timeout_s: float = 300) -> str:
        """Run a program and return its output. Raises `CheckFailed` if it fails or takes longer."""
        with tempfile.TemporaryDirectory() as work:
            log = Path(work) / "log"
            with self.start(*command, output=log) as outer:
                try:
                    status: int | None = outer.wait(timeout_s)
                except subprocess.TimeoutExpired:
                    status = None
            output = log.read_text("utf-8", "replace")
        if status is None:
            raise CheckFailed(f"{command[0]} took over {timeout_s} s:\n{output[-3000:]}")
        if status:
            raise CheckFailed(failure(command, status, output))
        return output

    def _outer(self, command: Sequence[str]) -> list[str]:
        """Return the command that makes the namespaces and runs `_inner` in them."""
        unshare = ["unshare", "--mount", "--ipc", "--uts"]
        shell = ["sh", "-euc", self._inner(command)]
        if self.beside is None:
            return [*unshare, "--pid", "--fork", *shell]
        (process,) = processes_inside(self.beside)
        return ["nsenter", f"--target={process}", "--pid", *unshare, *shell]

    def _inner(self, command: Sequence[str]) -> str:
        """Return the script that mounts everything, drops its rights and executes the program."""
        for volume in self.volumes:  # an engine creates these folders as well
            (self.root / volume.inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
        mounts: list[list[str | Path]] = [
            ["mount", "--bind", self.root, self.root],
            ["mount", "-o", "remount,bind,ro", self.root],
            ["mount", "-t", "proc", "proc", self.root / "proc"],
            *self._devices(),
            ["mount", "-t", "tmpfs", "-o", self.tmp_options, "tmpfs", self.root / "tmp"],
        ]
        for volume in self.volumes:
            target = self.root / volume.inside.lstrip("/")
            mounts.append(["mkdir", "-p", target])  # below /tmp or /dev, which are new
            mounts.append(["mount", "--bind", volume.here, target])
            if not volume.writable:
                mounts.append(["mount", "-o", "remount,bind,ro", target])
        lines = [shlex.join(map(str, mount)) for mount in mounts]
        return "\n".join([*lines, f"ulimit -n {OPEN_FILES}", f"exec {self._become(command)}"])

    def _devices(self) -> list[list[str | Path]]:
        """Return the mounts of a minimal /dev, like an engine's."""
        folder = self.root / "dev"
        files = [folder / name for name in DEVICES]
        binds: list[list[str | Path]] = [["mount", "--bind", f"/dev/{f.name}", f] for f in files]
        return [
            ["mount", "-t", "tmpfs", "-o", "mode=755,size=64k", "tmpfs", folder],
            ["touch", *files],
            *binds,
            ["mkdir", folder / "shm"],
            ["mount", "-t", "tmpfs", "-o", f"size=64m,{TMPFS}", "tmpfs", folder / "shm"],
            ["ln", "-s", "/proc/self/fd", folder / "fd"],
        ]

    def _become(self, command: Sequence[str]) -> str:
        """Return the command that enters the root as the image's user, and cannot gain rights."""
        variables = dict(pair.split("=", 1) for pair in self.image.environment)
        variables |= self.environment
        words = ["setpriv", "--no-new-privs", "--bounding-set=-all,+sys_chroot,+setuid,+setgid"]
        words += ["chroot", f"--userspec={self.image.user}", "--groups=", str(self.root)]
        words += ["env", "-i", f"--chdir={self.image.folder}"]
        words += [f"{name}={value}" for name, value in variables.items()]
        return shlex.join([*words, *command])


def processes_inside(outer: "subprocess.Popen[bytes]") -> list[int]:
    """Return the process ids, on this machine, of a running sandbox program."""
    try:
        text = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text("utf-8")
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


def kill(outer: "subprocess.Popen[bytes]") -> None:
    """Kill a sandbox's program, and with it all other processes of its namespace.

    Killing `unshare` is not enough: its --kill-child has no effect after the program changes its
    user.
    """
    while outer.poll() is None:
        for process in processes_inside(outer):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)
