import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from model.calibration.calibration import Calibration
from model.dataset import read_mvtec
from model.errors import DatasetError
from model.evaluation import evaluate
from model.evaluation.rivalry import METHODS, compare_with_rivals
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.rivals import SCORES, Features
from model.runtimes.torch import torch_detector
from model.scoring.scores import Scoring

CONFIG = NetworkConfig(
    encoder="mobilenetv3_small_050",
    image_size=(64, 64),
    scan="sweep",
    directions=2,
    depths=(2, 2, 2, 2),
    state_size=1,
)


def write(path, seed, spot=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(90, 130, (64, 64, 3), np.uint8)
    if spot:
        pixels[24:40, 24:40] = (250, 20, 20)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def parts(tmp_path):
    for kind, seed in (("bolt", 0), ("nut", 100)):
        for n in range(8):
            write(tmp_path / kind / f"train/good/{n}.png", seed + n)
        for n in range(4):
            write(tmp_path / kind / f"test/good/{n}.png", seed + 20 + n)
            write(tmp_path / kind / f"test/spot/{n}.png", seed + 30 + n, spot=True)
            mask = np.zeros((64, 64), np.uint8)
            mask[24:40, 24:40] = 255
            path = tmp_path / kind / f"ground_truth/spot/{n}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return read_mvtec(tmp_path)


@pytest.fixture
def network():
    return MambaAD(CONFIG)


def detector(network, preprocessing):
    calibration = Calibration(1.0, 1.0, 1.0, 1.0, 0.01, 120)
    calibrations = {"bolt": calibration, "nut": calibration}
    return torch_detector(network, preprocessing, Scoring(), calibrations, backend="reference")


def test_every_method_is_scored_alike_on_the_same_images(parts, network):
    preprocessing = Preprocessing(image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    ours = detector(network, preprocessing)
    evaluation = evaluate(ours, parts.test)
    features = Features(network.encoder, preprocessing)
    rivalry = compare_with_rivals(
        features, parts.train, evaluation, resamplings=50, detector=ours, device="cpu (a processor)"
    )
    rows = rivalry.categories["bolt"]
    expected = [("MambaAD", "calibrated")] + [(m, s) for m in METHODS for s in SCORES]
    assert [(row.method, row.score) for row in rows] == expected
    mambaad = rows[0]
    assert mambaad.metrics["image_auroc"] == evaluation.categories["bolt"].image_auroc
    assert mambaad.metrics["aupro"] == evaluation.categories["bolt"].aupro
    by_method = {(row.method, row.score): row for row in rows}
    for method in METHODS[1:]:
        row = by_method[method, "top_inner"]
        assert row.metrics["image_auroc"] == 1.0
        assert row.metrics["aupro"] > 0.5
        assert row.ahead == pytest.approx(mambaad.metrics["image_auroc"] - 1.0)
        assert row.ahead_interval[0] <= row.ahead <= row.ahead_interval[1]
    means = rivalry.to_dict()["mean"]
    both = [rivalry.categories[c][0].metrics["image_auroc"] for c in ("bolt", "nut")]
    assert means[0]["image_auroc"] == pytest.approx(np.mean(both))
    assert len(means) == len(expected)
    times = rivalry.to_dict()["times"]
    assert times["device"] == "cpu (a processor)"
    assert set(times["image_ms"]["nut"]) == set(METHODS)
    assert all(ms > 0 for of_category in times["image_ms"].values() for ms in of_category.values())
    both = [rivalry.times_ms[c]["PaDiM"] for c in ("bolt", "nut")]
    assert rivalry.ms("mean", "PaDiM") == pytest.approx(np.mean(both))
    console = Console(width=200)
    with console.capture() as capture:
        console.print(rivalry.table())
    printed = capture.get()
    assert f"{rivalry.ms('bolt', 'PatchCore'):.1f}" in printed
    assert f"{100 * by_method['PaDiM', 'max'].metrics['aupro']:.1f}" in printed
    assert "on cpu (a processor)" in printed


def test_nothing_to_fit_on_is_an_error(parts, network):
    preprocessing = Preprocessing(image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    evaluation = evaluate(detector(network, preprocessing), parts.test)
    bolts = [sample for sample in parts.train if sample.category == "bolt"]
    with pytest.raises(DatasetError, match="no good training images of nut"):
        compare_with_rivals(Features(network.encoder, preprocessing), bolts, evaluation)
