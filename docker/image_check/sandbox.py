"""Runs an image as a container engine would, with Linux namespaces alone.

Its file system is read-only but for volumes and /tmp; its process is number 1 of its own process
namespace, has the image's user, no capability and no way to gain one.
"""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.image_check.image import Image
from docker.image_check.programs import CheckFailed, failure

OPEN_FILES = 1024  # the limit that most systems set
DEVICES = ("null", "zero", "full", "random", "urandom")
TMPFS = "noexec,nosuid,nodev"


@dataclass(frozen=True)
class Volume:
    """A folder of this machine that the sandbox sees."""

    here: Path
    inside: str
    writable: bool = False


@dataclass(frozen=True)
class Sandbox:
    """An image's mounted file system, and what is laid over it."""

    image: Image
    root: Path
    volumes: Sequence[Volume]
    environment: Mapping[str, str]
    tmp_options: str = f"size=1g,mode=1777,{TMPFS}"

    def start(self, *command: str, output: Path) -> "subprocess.Popen[bytes]":
        """Start a program; the process returned stands for it and ends with its status."""
        with output.open("wb") as sink:
            return subprocess.Popen(
                self._outer(command), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
            )

    def run(self, *command: str, timeout_s: float = 300) -> str:
        """Run a program and return its output. Raises `CheckFailed` if it fails."""
        answer = self.attempt(*command, timeout_s=timeout_s)
        if answer.returncode:
            raise CheckFailed(failure(command, answer.returncode, answer.stdout + answer.stderr))
        return answer.stdout

    def attempt(self, *command: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end, whichever that is."""
        return subprocess.run(
            self._outer(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def _outer(self, command: Sequence[str]) -> list[str]:
        """Return the command that makes the namespaces and, in them, runs `_inner`."""
        unshare = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL"]
        return [*unshare, "sh", "-euc", self._inner(command)]

    def _inner(self, command: Sequence[str]) -> str:
        """Return the script that mounts everything, drops its rights and becomes the program."""
        for volume in self.volumes:  # an engine makes these folders, too
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
            mounts.append(["mount", "--bind", volume.here, target])
            if not volume.writable:
                mounts.append(["mount", "-o", "remount,bind,ro", target])
        lines = [shlex.join(map(str, mount)) for mount in mounts]
        return "\n".join([*lines, f"ulimit -n {OPEN_FILES}", f"exec {self._become(command)}"])

    def _devices(self) -> list[list[str | Path]]:
        """Return the mounts of a /dev that holds hardly anything, as an engine makes it."""
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
        """Return the command that enters the root as the image's user, and gains no rights."""
        variables = dict(pair.split("=", 1) for pair in self.image.environment)
        variables |= self.environment
        words = ["setpriv", "--no-new-privs", "--bounding-set=-all,+sys_chroot,+setuid,+setgid"]
        words += ["chroot", f"--userspec={self.image.user}", "--groups=", str(self.root)]
        words += ["env", "-i", f"--chdir={self.image.folder}"]
        words += [f"{name}={value}" for name, value in variables.items()]
        return shlex.join([*words, *command])


def process_inside(outer: "subprocess.Popen[bytes]") -> int:
    """Return the number that this machine gives to the program that `Sandbox.start` started."""
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text("utf-8").split()
    if len(children) != 1:
        raise CheckFailed("the service is not running")
    return int(children[0])
