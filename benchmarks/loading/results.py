"""What every result file says, and the bar that a benchmark shows meanwhile."""

import os
import platform
import shlex
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from model.benchmark import device_name


def described(program: str, packages: Iterable[str]) -> dict[str, Any]:
    """Describe a run of `benchmarks.<program>`: time, command, machine and versions."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", f"benchmarks.{program}", *sys.argv[1:]]),
        "device_name": device_name("cpu"),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in packages},
    }


def counting_bar() -> Progress:
    """Return a bar with the count, the time passed and the time left."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True),
    )  # fmt: skip
