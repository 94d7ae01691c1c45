"""The Debian programs that tests run; CI installs all of them."""

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "curl": "curl",
    "initdb": "postgresql",
    "mbpoll": "mbpoll",
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "openssl": "openssl",
    "postgres": "postgresql",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}
"""The Debian package of each program."""


def program(name: str) -> str:
    """Return the path of a program. Without it, the test skips, or fails if CI is set."""
    path = shutil.which(name, path=os.pathsep.join(folders()))
    if path is not None:
        return path
    message = f"{name} is not installed: apt-get install {PACKAGES[name]}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def folders() -> list[str]:
    """Return the folders of programs; Debian keeps those of PostgreSQL and of servers apart."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [os.environ.get("PATH", os.defpath), *map(str, versions), "/usr/sbin"]
