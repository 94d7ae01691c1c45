"""The Debian programs that tests run; CI installs all of them."""

import os
import shutil

import pytest

PACKAGES = {"curl": "curl", "prometheus": "prometheus", "promtool": "prometheus"}
"""The Debian package of each program."""


def program(name: str) -> str:
    """Return the path of a program. Without it, the test skips, or fails if CI is set."""
    path = shutil.which(name)
    if path is not None:
        return path
    message = f"{name} is not installed: apt-get install {PACKAGES[name]}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
