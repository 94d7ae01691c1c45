"""Builds the images with buildah, each layer once."""

import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from docker.image_check.pip_mounts import PipMounts
from docker.image_check.programs import run

ROOT = Path(__file__).parents[2]
INSTALLING_STAGES = {"cpu": "sbom", "edge": "sbom-edge", "cluster": "sbom-cluster"}
"""The last stage that runs pip, by target."""


def image_name(target: str) -> str:
    """Return the name of the built image."""
    return f"localhost/mambaad-image-check:{target}"


def build(targets: Collection[str], base: str, pip: PipMounts, torch_index: str = "") -> None:
    """Build the targets of the Dockerfile.

    The stages that run pip are built first, with pip's folders mounted. For each mount buildah
    leaves an empty folder in the layer, so the final images are built afterwards without mounts.
    """
    with tempfile.TemporaryDirectory() as work:
        context = Path(work) / "context"
        copy_context(context)
        mounts = pip.options(Path(work) / "pip.conf")
        arguments = [f"--build-arg=PYTHON_IMAGE={base}", f"--build-arg=TORCH_INDEX={torch_index}"]
        command = ["buildah", "build", "--isolation=chroot", "--layers", "--format=docker"]
        command += [f"--file={context}/docker/Dockerfile", *arguments]
        for stage in map(INSTALLING_STAGES.__getitem__, targets):
            print(f"building the stage {stage}", flush=True)
            run(*command, *mounts, "--jobs=2", f"--target={stage}", context)
        for target in targets:
            print(f"building the image {target}", flush=True)
            run(*command, f"--target={target}", f"--tag={image_name(target)}", context)


def copy_context(context: Path) -> None:
    """Copy the files that `.dockerignore` admits, so that later changes do not affect the build."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    names = [line.removeprefix("!") for line in lines if line.startswith("!")]
    for name in [".dockerignore", "docker/Dockerfile", *names]:
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, target)
