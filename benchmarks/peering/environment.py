"""The virtual environment of the peers, which has anomalib and OpenVINO."""

import subprocess
import sys
from pathlib import Path

from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import ROOT

REQUIREMENTS = ROOT / "benchmarks" / "peers-requirements.txt"


def create(folder: Path) -> None:
    """Create the environment, or complete it. Raises `CannotMeasure` if pip failed."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise CannotMeasure(f"{folder} is not a virtual environment; name a new folder")
    python = str(folder / "bin" / "python")
    commands = (
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--requirement", str(REQUIREMENTS)],
    )
    for command in commands:
        code = subprocess.run(command, check=False).returncode
        if code:
            raise CannotMeasure(f"`{' '.join(command)}` failed with {code}; its output says why")


def python_of(folder: Path | None) -> Path:
    """Return the environment's Python. Raises `CannotMeasure` if the environment is not complete.

    Without a folder, names the command that makes one.
    """
    if folder is None:
        raise CannotMeasure(
            "anomalib's networks need an environment of their own: "
            "run `python -m benchmarks.peers environment DIR`, then pass --environment DIR"
        )
    python = folder.absolute() / "bin" / "python"
    command = f"python -m benchmarks.peers environment {folder}"
    if not python.is_file():
        raise CannotMeasure(f"{folder} has no environment of the peers; make it: `{command}`")
    search = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))"
    packages = ("anomalib", "openvino", "onnx", "torch", "torchvision")
    if subprocess.run([python, "-c", search, *packages], check=False).returncode:
        raise CannotMeasure(f"{folder} lacks some of {', '.join(packages)}; run `{command}`")
    return python
