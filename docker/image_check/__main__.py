"""`make image-check`: builds, runs, tries, stops and weighs the images.

`make image-check-cluster` does so for the image `cluster`.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from docker.image_check.base import ensure_base
from docker.image_check.build import ROOT, build, image_name
from docker.image_check.cluster import check_cluster
from docker.image_check.image import Image, largest_parts, mounted, refuse_private_words
from docker.image_check.inspecting import (
    CHECKPOINT,
    Answer,
    check_answers,
    check_read_only,
    check_stop,
    compare,
    mambaad,
    predict_command,
    read_predictions,
    serving,
)
from docker.image_check.network import leave_network
from docker.image_check.pip_mounts import find_pip_mounts
from docker.image_check.programs import CheckFailed, require
from docker.image_check.sandbox import Sandbox, Volume

MB = 1_000_000


@dataclass(frozen=True)
class Target:
    """A target of the Dockerfile, and its limits."""

    name: str
    most_mb: int
    tolerance: float  # largest difference from torch's scores (0 to 1) outside the image


TARGETS = (
    Target("cpu", 1330, 1e-4),
    Target("edge", 490, 1e-3),  # `mambaad export` promises this tolerance
)

CLUSTER = Target("cluster", 1600, 1e-4)


def main() -> None:
    """Check the images; exit with 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m docker.image_check", description=__doc__)
    parser.add_argument("--python-image", help="base image; by default debootstrap makes one")
    parser.add_argument("--torch-index", default="", help="package index with torch's CPU wheels")
    parser.add_argument(
        "--no-build", action="store_true", help="check images that were built before"
    )
    parser.add_argument(
        "--cluster", action="store_true", help="check the image `cluster` instead of the others"
    )
    options = parser.parse_args()
    try:
        check_images(options)
    except CheckFailed as error:
        sys.exit(f"image-check: {error}")


def check_images(options: argparse.Namespace) -> None:
    """Build and check the images."""
    require("buildah", "unshare", "nsenter", "setpriv", "chroot")
    if os.geteuid() != 0:
        raise CheckFailed("building and running images without an engine needs root")
    start = time.monotonic()
    targets = (CLUSTER,) if options.cluster else TARGETS
    pip = find_pip_mounts()
    torch_host = urlsplit(options.torch_index).hostname
    private_words = pip.private_words | ({torch_host} if torch_host else set())
    if not options.no_build:
        base = options.python_image or ensure_base()
        build([target.name for target in targets], base, pip, options.torch_index)
        print(f"built in {time.monotonic() - start:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        shutil.copytree(ROOT / "weights", weights)
        if not options.cluster:
            mambaad("export", CHECKPOINT, "--serve", "--weights", weights)
        expected = read_predictions(mambaad(*predict_command("samples", str(weights))))
        leave_network()
        for target in targets:
            check(target, Path(work), weights, expected, private_words)
    print(f"image-check passed after {time.monotonic() - start:.0f} s")


def check(
    target: Target,
    work: Path,
    weights: Path,
    expected: dict[str, Answer],
    private_words: frozenset[str],
) -> None:
    """Check one image: size, start, answers, stop."""
    image = Image.of(image_name(target.name))
    with mounted(image.name) as root:
        check_size(target, image, root)
        refuse_private_words(image, root, private_words)
        with prepared(target, image, root, work, weights) as sandbox:
            check_read_only(sandbox)
            if target == CLUSTER:
                check_cluster(sandbox, work, expected)
            else:
                serve_and_inspect(target, sandbox, work / f"{target.name}.log", expected)
            if target.name == "cpu":
                check_offline_commands(target, sandbox, expected)


def check_size(target: Target, image: Image, root: Path) -> None:
    """Print the sizes of the largest parts, and compare the total with the limit."""
    print(f"== {target.name}: {image.size_bytes / MB:.0f} MB, at most {target.most_mb} ==")
    for size, part in largest_parts(root):
        print(f"{size / MB:8.1f} MB  {part}")
    if image.size_bytes > target.most_mb * MB:
        raise CheckFailed(f"{target.name} is larger than {target.most_mb} MB")


@contextmanager
def prepared(
    target: Target, image: Image, root: Path, work: Path, weights: Path
) -> Iterator[Sandbox]:
    """Add the volumes of docker-compose.yml, the samples, and the store for edge to the image."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    service = compose["services"]["mambaad"]
    volumes = [Volume(ROOT / "samples", "/mnt")]
    if target.name == "edge":
        volumes.append(Volume(weights, "/srv/mambaad/weights"))
    for entry in service["volumes"]:
        source, inside, *_ = entry.split(":")
        if not source.startswith("."):  # a named volume: an engine fills it from the image
            here = work / target.name / source
            copy_folder(root / inside.lstrip("/"), here)
            volumes.append(Volume(here, inside, writable=True))
    tmp = dict(entry.split(":") for entry in service["tmpfs"])["/tmp"]
    yield Sandbox(image, root, volumes, service["environment"], tmp)


def copy_folder(source: Path, target: Path) -> None:
    """Make an empty folder with the owner and permissions of `source`."""
    status = source.stat()
    target.mkdir(parents=True)
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(status.st_mode & 0o7777)


def serve_and_inspect(
    target: Target, sandbox: Sandbox, log: Path, expected: dict[str, Answer]
) -> None:
    """Start the service, check its health and decisions, and stop it."""
    start = time.monotonic()
    with serving(sandbox, log) as server:
        ready_s = time.monotonic() - start
        check_answers(expected, target.tolerance)
        answered_s = time.monotonic() - start
        if not sandbox.image.health_command:
            raise CheckFailed("the image has no health check")
        sandbox.run(*sandbox.image.health_command)
        stopped_s = check_stop(server, log, grace_s=75)
    print(
        f"{target.name}: ready after {ready_s:.1f} s, both samples answered after "
        f"{answered_s:.1f} s; SIGTERM ended it in {stopped_s:.1f} s",
        flush=True,
    )


def check_offline_commands(target: Target, sandbox: Sandbox, expected: dict[str, Answer]) -> None:
    """Run the commands that need no service in the image."""
    program = sandbox.image.command[0]
    output = sandbox.run(program, *predict_command("/mnt", "weights"))
    compare(read_predictions(output), expected, target.tolerance)
    sandbox.run(program, "benchmark", "--checkpoint", CHECKPOINT, "--repeats", "2")
    print(f"{target.name}: predict and benchmark work too", flush=True)


if __name__ == "__main__":
    main()
