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
    "ip": "iproute2",
    "mbpoll": "mbpoll",
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "openssl": "openssl",
    "postgres": "postgresql",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "tc": "iproute2",
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


def npm_file(package: str, path: str) -> Path:
    """Return a file of an npm package in `.npm/`. Without it, the test skips, or fails in CI."""
    file = Path(__file__).parents[1] / ".npm" / "node_modules" / package / path
    if file.is_file():
        return file
    message = f"{package} is not installed: npm install --prefix .npm --no-save {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def folders() -> list[str]:
    """Return the folders of programs; Debian keeps those of PostgreSQL and of servers apart."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [os.environ.get("PATH", os.defpath), *map(str, versions), "/usr/sbin"]
