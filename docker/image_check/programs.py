"""Runs programs; errors show their output, or the command that installs a missing one."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PACKAGES = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "chroot": "coreutils",
}
"""The Debian package of each program that the check runs."""


class CheckFailed(Exception):
    """The check failed or cannot run here; the message says what to do."""


def require(*programs: str) -> None:
    """Raise `CheckFailed`, with the command that installs the missing programs."""
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
    """Run a program and return its output. Raises `CheckFailed` with the end of it on failure."""
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
    """Describe the failure of a program, with the end of its output."""
    return f"{shlex.join(command)[:300]} ended with {status}:\n{output.strip()[-3000:]}"
