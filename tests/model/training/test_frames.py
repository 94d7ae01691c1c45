"""Training on images of any shape, prepared as for serving: frames, areas and a cache."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from model.checkpoints.checkpoint import CheckpointStore
from model.cli import app
from model.cli.train.images import read_areas
from model.errors import ConfigError
from model.images.areas import Area
from model.network import MambaAD
from model.runtimes.torch import open_checkpoint
from model.scoring.scores import Scoring
from tests.tiny import PREPROCESSING, TINY, options

LABEL = [[[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]]


@pytest.fixture
def parts(tmp_path):
    """Write long images: noise on the left, a label of any brightness on the right."""
    for number in range(8):
        dice = np.random.default_rng(number)
        pixels = dice.integers(80, 120, (64, 150), np.uint8)
        pixels[:, 80:] = dice.integers(0, 255)
        path = tmp_path / "bolt" / "good" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (tmp_path / "label.json").write_text(json.dumps(LABEL))
    return tmp_path


def train(parts, *more):
    command = [
        "train", parts / "bolt", "--name", "bolt", *options(parts.parent),
        "--batch-size", "4", "--epochs", "1", "--weights", parts / "weights",
        "--runs", parts / "runs", "--no-self-check", *more,
    ]  # fmt: skip
    return CliRunner().invoke(app, [str(word) for word in command])


def test_a_tiled_network_is_trained_calibrated_and_kept_as_such(parts):
    result = train(
        parts, "--tile", "--tile-overlap", "0.5", "--grey-bits", "12", "--ignore",
        f"bolt={parts / 'label.json'}", "--cache-dir", parts / "cache",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    checkpoint = CheckpointStore(parts / "weights").load("bolt")
    rule = checkpoint.preprocessing
    assert (rule.resize, rule.tile_overlap, rule.grey_bits) == ("tile", 0.5, 12)
    (area,) = checkpoint.manifest.areas.values()
    assert area.exclude == tuple(tuple(map(tuple, polygon)) for polygon in LABEL)
    # Not cached: the two held-out images, since no loss is computed for them.
    assert len(list((parts / "cache").rglob("*.npy"))) == 8 - 2
    detector = open_checkpoint(checkpoint)
    image = Image.open(parts / "bolt/good/0.png")
    (inspection,) = detector.inspect_images([image], "bolt")
    image.paste(255, (90, 0, 150, 64))
    (relabelled,) = detector.inspect_images([image], "bolt")
    assert inspection.anomaly_map.values.shape == (64, 150)
    half = inspection.anomaly_map.values[:, :75]
    assert inspection.raw_score == pytest.approx(float(half.max()))
    assert relabelled.anomaly_map.values[:, 75:].max() <= relabelled.raw_score


@pytest.mark.parametrize(
    ("options", "area"), [({"resize": "letterbox"}, None), ({}, Area(include=LABEL))]
)
def test_no_file_is_exported_that_would_decide_otherwise(tmp_path, options, area):
    pytest.importorskip("onnx")
    rule = replace(PREPROCESSING, **options)
    CheckpointStore(tmp_path).save(
        "bolt", MambaAD(TINY), rule, Scoring(), {}, training={}, metrics={},
        areas={"bolt": area} if area else None,
    )  # fmt: skip
    command = [
        "export",
        "bolt",
        "--output",
        str(tmp_path / "bolt.onnx"),
        "--weights",
        str(tmp_path),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "its scores and decisions would differ" in " ".join(result.stderr.split())
    assert not (tmp_path / "bolt.onnx").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tile", "--standardise"], "tiles do not have"),
        (["--resize", "crop"], "resize must be stretch, letterbox, tile"),
        (["--grey-bits", "20"], "grey_bits must be 8 to 16"),
        (["--roi", "nut=label.json"], "--roi: no category 'nut'; have: bolt"),
        (["--roi", "none.json"], "none.json is not readable"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(parts, options, says):
    result = train(parts, *options)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert not (parts / "weights").exists()


def test_areas_are_told_by_category(parts):
    file = str(parts / "label.json")
    assert read_areas(None, None, ("bolt",)) == {}
    assert list(read_areas([file], None, ("bolt",))) == ["bolt"]
    both = read_areas([f"nut={file}"], [f"bolt={file}"], ("bolt", "nut"))
    assert both["nut"].include == both["bolt"].exclude != ()
    with pytest.raises(ConfigError, match="CATEGORY=FILE, one of bolt, nut"):
        read_areas([file], None, ("bolt", "nut"))
    with pytest.raises(ConfigError, match="twice for 'bolt'"):
        read_areas([file, f"bolt={file}"], None, ("bolt",))
