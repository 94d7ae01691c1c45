"""The programs of Debian that tests run; CI installs every one of them."""

import os
import shutil

import pytest

PACKAGES = {"curl": "curl", "prometheus": "prometheus", "promtool": "prometheus"}
"""Each program, and the package that brings it."""


def program(name: str) -> str:
    """Return the path of a program. A test without it skips; where CI is set, it fails."""
    path = shutil.which(name)
    if path is not None:
        return path
    told = f"{name} is not installed: apt-get install {PACKAGES[name]}"
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)
