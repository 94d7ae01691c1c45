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
    "train nosuch --name x --recipe fast": "no folder nosuch",
    "predict solar": "Missing argument",
    f"predict nosuch {IMAGE}": "no checkpoint 'nosuch'",
    f"predict solar {IMAGE} --version 999": "no version '999'",
    f"predict solar {IMAGE} --category nosuch": "no category 'nosuch'",
    "calibrate nosuch samples": "no checkpoint 'nosuch'",
    "calibrate solar": "give either DATA or --images",
    "calibrate solar nosuch": "no folder nosuch",
    "evaluate nosuch samples": "no checkpoint 'nosuch'",
    "evaluate solar nosuch": "no folder nosuch",
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
