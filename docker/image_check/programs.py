"""Running programs: their output where they fail, and the command that installs a missing one."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PACKAGES = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "chroot": "coreutils",
}
"""Debian's package for each program that the check runs."""


class CheckFailed(Exception):
    """The check found a fault, or cannot run here; the message says what to do."""


def require(*programs: str) -> None:
    """Raise `CheckFailed` with the command that installs the programs that are missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[program] for program in missing}))
        raise CheckFailed(
            f"{', '.join(missing)} not found; install: "
            f"apt-get install --no-install-recommends {packages}"
        )


def run(
    *command: str | Path,
    timeout_s: float = 1800,
    folder: Path | None = None,
) -> str:
    """Run a program and return its output. Raises `CheckFailed` with its last words if it fails."""
    words = [str(word) for word in command]
    answer = subprocess.run(
        words,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout_s,
        cwd=folder,
        check=False,
    )
    if answer.returncode:
        raise CheckFailed(failure(words, answer.returncode, f"{answer.stdout}\n{answer.stderr}"))
    return answer.stdout


def failure(command: Sequence[str], status: int, output: str) -> str:
    """Describe a program that failed, with the end of what it said."""
    return f"{shlex.join(command)[:300]} ended with {status}:\n{output.strip()[-3000:]}"
