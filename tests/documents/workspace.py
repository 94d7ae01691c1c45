"""The folder for trying the documents: a store, samples, images, programs."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from model.checkpoints.manifest import MANIFEST_FILE, Manifest

ROOT = Path(__file__).parents[2]
GOOD, DEFECTIVE, SIDE = 28, 4, 96

MAMBAAD = """#!{python}
import sys
from tests.documents.workspace import mambaad
sys.exit(mambaad(sys.argv[1:]))
"""


def prepare(folder: Path) -> dict[str, str]:
    """Fill the folder; return the environment of its programs."""
    (folder / "samples").symlink_to(ROOT / "samples")
    shutil.copytree(ROOT / "weights", folder / "weights")
    _copy_version(folder / "weights" / "solar" / "3", "4")
    cells = ROOT / "samples" / "solar-mono"
    for name in ("part.png", "photo.png", "part-1.png", "part-2.png", "front.png", "back.png"):
        shutil.copyfile(cells / "good-1.png", folder / name)
    for name in ("42.png", "43.png", "cell.png"):
        shutil.copyfile(cells / "defective-1.png", folder / name)
    write_gaskets(folder / "data" / "gasket")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "mambaad").write_text(MAMBAAD.format(python=sys.executable), "utf-8")
    (programs / "mambaad").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _copy_version(folder: Path, version: str) -> None:
    copy = folder.parent / version
    shutil.copytree(folder, copy)
    values = Manifest.read(folder).model_dump() | {"version": version}
    (copy / MANIFEST_FILE).write_text(Manifest.from_values(values).to_json(), "utf-8")


def write_gaskets(folder: Path) -> None:
    """Write images of rings, some with a missing piece, with masks."""
    draw = np.random.default_rng(7)
    for number in range(GOOD):
        _save(_gasket(draw), folder / "train" / "good" / f"{number:03}.png")
    for number in range(DEFECTIVE):
        _save(_gasket(draw), folder / "test" / "good" / f"{number:03}.png")
        image, mask = _gasket(draw), Image.new("L", (SIDE, SIDE))
        place = [60, 30 + 4 * number, 84, 46 + 4 * number]
        ImageDraw.Draw(image).rectangle(place, fill=30)
        ImageDraw.Draw(mask).rectangle(place, fill=255)
        _save(image, folder / "test" / "cut" / f"{number:03}.png")
        _save(mask, folder / "ground_truth" / "cut" / f"{number:03}_mask.png")


def _gasket(draw: np.random.Generator) -> Image.Image:
    noise = draw.normal(30, 4, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise)
    left, top = draw.integers(8, 12, 2)
    ring = [int(left), int(top), int(left) + 76, int(top) + 76]
    ImageDraw.Draw(image).ellipse(ring, outline=170, width=18)
    return image.filter(ImageFilter.GaussianBlur(0.8))


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def mambaad(arguments: list[str]) -> int:
    """Run `mambaad`; `serve` uses a free port, and stops once it is ready."""
    command = [sys.executable, "-c", "from service.cli.main import main; main()", *arguments]
    if arguments[:2] == ["station", "run"]:
        os.execv(command[0], command)  # so that the document's `kill` stops the station itself
    if arguments[:1] != ["serve"]:
        return subprocess.call(command)
    environment = {**os.environ, "MAMBAAD_HTTP__PORT": "0"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        ready = any("Ready on" in line for line in server.stdout)
        server.send_signal(signal.SIGINT)
        server.stdout.read()
    return server.returncode if ready else 1
