"""The `.pt2` program, run by torch alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from model.export import program
from model.export.program import Program, export_program, rendered_scan
from model.inspection import ImageSize
from model.runtimes.torch import open_checkpoint
from model.scan import hybrid_scan, order_table
from model.scoring.scores import Scoring
from tests.model.export.small import images, save

ALONE = """
import sys, json
sys.modules["model"] = None  # whoever imports it fails
import numpy, torch
extra = {"mambaad.json": ""}
program = torch.export.load(sys.argv[1], extra_files=extra).module()
with torch.no_grad():
    found = program(torch.from_numpy(numpy.load(sys.argv[2])), torch.tensor([0, 1, 1]))
numpy.savez(sys.argv[3], **{name: value.numpy() for name, value in found.items()})
print(json.loads(extra["mambaad.json"])["categories"])
"""


@pytest.mark.parametrize(
    "scoring",
    [
        # A scale without weight is not reconstructed, and so not traced.
        Scoring(statistic="top_mean", standardise=True, scale_weights=(0.0, 0.0, 1.0)),
        Scoring(distance="mahalanobis", scale_weights=(0.0, 0.0, 2.0), memory=10),
        pytest.param(Scoring(statistic="top_mean", standardise=True), marks=pytest.mark.long),
        pytest.param(
            Scoring(distance="mahalanobis", scale_weights=(0.0, 1.0, 2.0)), marks=pytest.mark.long
        ),
    ],
    ids=[
        "standardised",
        "gaussians and a memory",
        "every scale",
        "gaussians of two scales",
    ],
)
def test_it_runs_where_this_package_is_not(tmp_path, monkeypatch, scoring):
    monkeypatch.setattr(program, "CHUNK", 4)  # torch traces every step of a chunk
    checkpoint = save(tmp_path, scoring, image_size=(32, 32))
    written = export_program(checkpoint, tmp_path / "parts.pt2")
    assert written.parity.difference < 1e-4
    np.save(tmp_path / "images.npy", images(size=(32, 32)))
    answer = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path / "parts.pt2", tmp_path / "images.npy",
         tmp_path / "found.npz"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == ["bolt", "nut"]
    outputs = np.load(tmp_path / "found.npz")
    detector = open_checkpoint(checkpoint)
    batch = images(size=(32, 32))
    wanted = detector.inspect(batch, ("bolt", "nut", "nut"), [ImageSize(32, 32)] * 3)
    np.testing.assert_allclose(outputs["score"], [w.score for w in wanted], atol=1e-4)
    codes = {"OK": 0, "NG": 1, "REVIEW": 2}
    assert outputs["decision"].tolist() == [codes[w.decision] for w in wanted]
    maps = np.stack([w.anomaly_map.values for w in wanted])
    np.testing.assert_allclose(outputs["anomaly_map"], maps, atol=1e-4)


def test_it_measures_by_the_gaussians_of_each_category(tmp_path):
    checkpoint = save(tmp_path, Scoring(distance="mahalanobis", scale_weights=(0.0, 1.0, 1.0)))
    with torch.no_grad():
        outputs = Program(checkpoint)(torch.from_numpy(images()), torch.tensor([0, 1, 1]))
    detector = open_checkpoint(checkpoint)
    maps = detector.anomaly_maps(images(), ["bolt", "nut", "nut"])
    np.testing.assert_allclose(outputs["anomaly_map"], maps, atol=1e-4)
    np.testing.assert_allclose(outputs["residuals"], detector.compare(images()), atol=1e-4)
    np.testing.assert_allclose(outputs["raw_score"], maps.max(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize("scoring", [Scoring(memory=40), Scoring(memory=40, standardise=True)])
def test_it_adds_the_memory_of_each_category(tmp_path, scoring):
    checkpoint = save(tmp_path, scoring)
    with torch.no_grad():
        outputs = Program(checkpoint)(torch.from_numpy(images()), torch.tensor([0, 1, 1]))
    detector = open_checkpoint(checkpoint)
    maps = detector.anomaly_maps(images(), ["bolt", "nut", "nut"])
    np.testing.assert_allclose(outputs["anomaly_map"], maps, atol=1e-4)
    rows = torch.cat([outputs["raw_map"].flatten(1), outputs["patches"]], dim=1)
    np.testing.assert_allclose(rows, detector.compare(images()), atol=1e-4)


def test_the_rendered_scan_is_the_scan():
    random = torch.Generator().manual_seed(0)
    K, D, N, R = 4, 5, 3, 2
    for side in (3, 4):  # chunks of 9 steps, and of 16
        L = side * side

        def draw(*shape):
            return torch.randn(*shape, generator=random)

        inputs = (
            draw(2, L, D), draw(2, L, K, R + 2 * N), -draw(K, D, N).exp(), draw(K, D),
            draw(K, D, R), draw(K, D), torch.from_numpy(order_table("sweep", K, side, side).copy()),
        )  # fmt: skip
        wanted = hybrid_scan(*inputs, backend="reference")
        rendered = hybrid_scan(*inputs, backend=rendered_scan)
        torch.testing.assert_close(rendered, wanted, atol=1e-5, rtol=1e-5)
