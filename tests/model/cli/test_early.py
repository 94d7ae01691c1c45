"""Mistakes in options, and --help, are answered without packages that take seconds to import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.cli.evaluate.reproduce import SETS
from model.evaluation.paper import PUBLISHED

ROOT = Path(__file__).parents[3]
IMAGE = "samples/solar-mono/defective-1.png"

MISTAKES = {
    "train --bogus": "No such option",
    "train": "Missing argument",
    "train samples --name x --recipe fats": "did you mean fast?",
    "train samples --name x --preset fats": "did you mean fast?",
    "train samples --name x --set nonsense=1": "unknown recipe key",
    "train samples --name x --epochs -3": "epochs must be at least 1",
    "train samples --name x --image-size 7": "each a multiple of 32",
    "train samples --name x --scan spiral": "unknown scan",
    "train samples --name x --recipe fast --encoder-weights nosuch.pth": "no weights file",
    "train samples --name x --recipe fast --tile --set distance=mahalanobis": "distance=cosine",
    "train samples --name x --tile --set distance=mahalanobis": "distance=cosine",
    "train samples --name x --recipe quality --tile --standardise": "without --standardise",
    "train samples --name x --device gpu": "device must be",
    "train samples --name x --encoder-weights nosuch.pth": "no weights file",
    "train samples --name x --depths 2,2": "expected 4 values, got (2, 2)",
    "train samples --name a/b": "a checkpoint's name must be",
    "train samples --name x --max-minutes -5": "--max-minutes must be above 0, got -5",
    "train samples --name x --checkpoint-minutes -1": "--checkpoint-minutes",
    "train samples --name x --resume --restart": "give either --resume",
    "train samples --name x --weights README.md": "README.md is a file",
    "train samples --name x --runs README.md/runs": "README.md is a file",
    "train samples --name x --cache-dir README.md": "README.md is a file",
    "train samples --name x --held-out-dir nosuch": "--held-out-dir: no folder nosuch",
    "train nosuch --name x --recipe fast": "no folder nosuch: expected a folder of images",
    "train sampels --name x": "did you mean samples?",
    "train README.md --name x": "README.md is a file: expected a folder of images, or a list",
    "predict solar": "Missing argument",
    f"predict nosuch {IMAGE}": "no checkpoint 'nosuch'",
    f"predict solar {IMAGE} --version 999": "no version '999'",
    f"predict solar {IMAGE} --category nosuch": "no category 'nosuch'",
    f"predict solar {IMAGE} --category solar-mono --output README.md": "README.md is a file",
    "predict solar nosuch.png --category solar-mono": "no file nosuch.png",
    "calibrate solar --use 7": "has no calibration 7",
    "calibrate solar --images README.md": "--images must be a folder of images, got the file",
    "calibrate solar --images samples --alpha 5": "--alpha must be between 0 and 1",
    "calibrate solar --images samples --defects nosuch --f1-max": "--defects: no folder nosuch",
    "calibrate nosuch samples": "no checkpoint 'nosuch'",
    "calibrate solar": "give either DATA or --images",
    "calibrate solar nosuch": "no folder nosuch",
    "evaluate nosuch samples": "no checkpoint 'nosuch'",
    "evaluate solar nosuch": "no folder nosuch",
    "evaluate solar samples --category nosuch": "no threshold for nosuch; it has: solar-mono",
    "evaluate solar samples --report out.pdf": "--report writes a file that ends in .html",
    "evaluate solar samples --json docs": "--json must name a file to write, got the folder docs",
    "evaluate solar samples --scores README.md/a.csv": "README.md is a file",
    "evaluate solar samples --run nosuch": "--run: no folder nosuch",
    "evaluate solar samples --layout nosuch": "no layout 'nosuch'",
    "advise nosuch samples": "no checkpoint 'nosuch'",
    "advise solar nosuch": "no folder nosuch",
    "advise solar samples --images nosuch": "--images: no folder nosuch",
    "export solar --output docs": "--output must name a file to write, got the folder docs",
    "export solar --output x.onnx --tolerance -1": "--tolerance",
    "compare solar nosuch samples": "no checkpoint 'nosuch'",
    "compare solar solar nosuch": "no folder nosuch",
    "golden nosuch samples": "no checkpoint 'nosuch'",
    "golden solar": "give either DATA or --images",
    "export nosuch --output x.onnx": "no checkpoint 'nosuch'",
    "export solar": "give either --output",
    "import nosuch.pth --name x": "no weights file",
    "benchmark": "give either --checkpoint",
    "benchmark --checkpoint nosuch": "no checkpoint 'nosuch'",
    "reproduce nosuch --data samples": "expected a data set of the paper",
    "reproduce mvtec --data samples --recipe papre": "did you mean paper?",
    "reproduce mvtec --data nosuch --recipe paper": "no folder nosuch",
    "data check nosuch": "no folder nosuch",
    "serve --port many": "--port",
    "serve --weights nosuch": "no checkpoint in nosuch",
    "detect": "Missing",
    "keys --bogus": "No such option",
    "archive --bogus": "No such option",
}
ANSWERS = {
    "--help": "train",
    "train --help": "--recipe",
    "predict --help": "--category",
    "evaluate --help": "--report",
    "train samples --name x --recipe fast --print-recipe": "epochs: 6",
    "train samples --name x --recipe fast --tile --print-recipe": "distance: cosine",
    "calibrate solar --log": "threshold",
}

PROGRAM = """
import contextlib, io, json, sys
from service.cli.main import build_commands

commands, answers = build_commands(), {}
for line in json.loads(sys.argv[1]):
    text = io.StringIO()
    code = 0
    with contextlib.redirect_stderr(text), contextlib.redirect_stdout(text):
        try:
            commands(line.split())
        except SystemExit as end:
            code = end.code
    heavy = ("torch", "torchvision", "timm", "numba", "scipy.ndimage", "scipy.sparse")
    imported = [name for name in (*heavy, "scipy.special") if name in sys.modules]
    answers[line] = [code, text.getvalue(), imported]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers():
    """Each line's exit code, output, and the heavy packages imported up to it, in one process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([*ANSWERS, *MISTAKES])],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_answered_without_importing_what_computes(answers, line):
    code, text, imported = answers[line]
    assert imported == []
    assert code == 2
    assert MISTAKES[line] in text


@pytest.mark.parametrize("line", ANSWERS)
def test_help_and_recipes_are_printed_without_importing_what_computes(answers, line):
    code, text, imported = answers[line]
    assert imported == []
    assert code == 0
    assert ANSWERS[line] in text


def test_the_sets_of_the_paper_are_named_without_importing_its_figures():
    assert set(SETS) == set(PUBLISHED)
