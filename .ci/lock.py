"""`make lock`: writes requirements.lock, the exact versions that CI and the images install.

pip resolves pyproject.toml's dependencies anew, from its configured index, and installs nothing.
The file is for `pip install --constraint`. It has neither index nor hashes, so that it serves both
the CUDA and the CPU builds of torch, whose wheels differ.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
EXTRAS = ("dev", "torch", "edge")
"""What CI and the images install; neither installs the others, for example `bench` and `mlflow`."""

NOT_LOCKED = re.compile(r"pip|mambaad-service|triton|nvidia-.*|cuda-.*")
"""The installer, the project itself, and the packages whose exact versions the CUDA build of torch
names; its CPU build needs none of them.
"""

HEAD = """\
# The exact versions that CI and the images install: `pip install --constraint requirements.lock`.
# Made by `make lock` with Python 3.11 on Linux. It bounds no user's installation: for other Pythons
# and systems pyproject.toml says what is supported, and `make LOCK= test` does without this file.
"""


def main() -> None:
    """Write the lock file."""
    lines = pins(resolved())
    LOCK.write_text(HEAD + "\n".join(lines) + "\n", "utf-8")
    print(f"{LOCK.name} holds {len(lines)} packages")


def resolved() -> dict[str, object]:
    """Let pip choose a version of every package, and return its report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        command += ["--quiet", "--disable-pip-version-check", "--report", str(report)]
        subprocess.run([*command, f".[{','.join(EXTRAS)}]"], cwd=ROOT, check=True)
        content: dict[str, object] = json.loads(report.read_text("utf-8"))
        return content


def pins(report: dict[str, object]) -> list[str]:
    """Return a line for each package of pip's report, except `NOT_LOCKED`."""
    packages = report["install"]
    assert isinstance(packages, list)
    versions = {}
    for package in packages:
        name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()
        # "+cpu" names a build, not a version: other indexes have other builds.
        versions[name] = package["metadata"]["version"].partition("+")[0]
    locked = {name: versions[name] for name in sorted(versions) if not NOT_LOCKED.fullmatch(name)}
    return [f"{name}=={version}" for name, version in locked.items()]


if __name__ == "__main__":
    main()
