"""Makes the base image, Debian with its Python, by debootstrap from this machine's apt mirror."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from docker.image_check.programs import require, run

NAME = "localhost/python:3.11-slim-bookworm"
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
LEFT_OUT = (
    "etc/apt/sources.list",  # names this machine's mirror
    "etc/hostname",
    "etc/resolv.conf",
    "etc/dpkg/dpkg.cfg.d/image",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt/lists",
    "var/log",
)
"""Leftovers of debootstrap that no image needs or that reveal this machine."""


def ensure_base() -> str:
    """Return the name of the base image; make the image if it is missing."""
    if subprocess.run(["buildah", "images", NAME], capture_output=True, check=False).returncode:
        require("debootstrap")
        print(f"making the base image {NAME}", flush=True)
        with tempfile.TemporaryDirectory() as work:
            root = Path(work) / "root"
            bootstrap(root)
            commit(root)
    return NAME


def bootstrap(root: Path) -> None:
    """Install Debian and Python into a folder."""
    settings = root / "etc/dpkg/dpkg.cfg.d/image"
    settings.parent.mkdir(parents=True)
    settings.write_text("force-unsafe-io\n", "utf-8")  # no fsync: half the time
    mirrors = apt_mirrors()
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, root, *mirrors[:1])
    for name in LEFT_OUT:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
            path.mkdir()
        else:
            path.unlink(missing_ok=True)
    keep_licences(root / "usr/share/doc")
    (root / "usr/bin/python").symlink_to("python3")


def keep_licences(documentation: Path) -> None:
    """Delete the documentation of packages, except the copyright files."""
    for path in sorted(documentation.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.name != "copyright":
            path.unlink()


def apt_mirrors() -> list[str]:
    """Return those mirrors of the suite's main part in apt's sources that debootstrap can read."""
    if shutil.which("apt-get") is None:
        return []
    targets = run("apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(SITE)")
    lines = [line.split() for line in targets.splitlines()]
    mirrors = [line[2] for line in lines if line[:2] == [SUITE, "main"] and len(line) == 3]
    return [mirror for mirror in mirrors if mirror.startswith(("http:", "https:", "file:"))]


def commit(root: Path) -> None:
    """Make a one-layer image of the folder."""
    container = run("buildah", "from", "scratch").strip()
    try:
        run("buildah", "add", "--quiet", container, root, "/")
        run("buildah", "commit", "--quiet", container, NAME)
    finally:
        run("buildah", "rm", container)
