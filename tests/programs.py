"""The programs of Debian that tests run; CI installs every one of them."""

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "curl": "curl",
    "initdb": "postgresql",
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "openssl": "openssl",
    "postgres": "postgresql",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}
"""Each program, and the package that brings it."""


def program(name: str) -> str:
    """Return the path of a program. A test without it skips; where CI is set, it fails."""
    path = shutil.which(name, path=os.pathsep.join(folders()))
    if path is not None:
        return path
    told = f"{name} is not installed: apt-get install {PACKAGES[name]}"
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)


def folders() -> list[str]:
    """Return the folders of programs; Debian keeps those of PostgreSQL and of servers apart."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [os.environ.get("PATH", os.defpath), *map(str, versions), "/usr/sbin"]
