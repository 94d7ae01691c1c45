import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from model.calibration.calibration import Calibration
from model.dataset import read_mvtec
from model.errors import DatasetError, ImageError, UnknownCategory
from model.evaluation import evaluate
from model.images.preprocess import Preprocessing
from model.inspection import AnomalyMap, Decision, Inspection
from model.network import MambaAD, NetworkConfig
from model.runtimes.torch import torch_detector
from model.scoring.scores import Scoring

SIZE = (8, 16)


class BrightnessDetector:
    """Finds bright pixels anomalous: the map is the image's first channel, 0 to 1."""

    preprocessing = Preprocessing(image_size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def __init__(self, threshold=0.5):
        self.threshold = threshold
        self.batches = []

    def inspect(self, images, categories, image_sizes):
        assert len(images) == len(categories) == len(image_sizes)
        self.batches.append(list(categories))
        return [
            self.result(image[0].astype(np.float32) / 255, *details)
            for image, *details in zip(images, categories, image_sizes, strict=True)
        ]

    def result(self, values, category, image_size):
        raw = float(values.max())
        return Inspection(
            category=category,
            decision=Decision.NG if raw > self.threshold else Decision.OK,
            score=raw,
            raw_score=raw,
            threshold=self.threshold,
            anomaly_map=AnomalyMap(values, image_size, self.threshold),
        )


def write(path, base, spot=None):
    """Write a grey image, with a brighter spot in the corner for a defect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(SIZE, base, dtype=np.uint8)
    if spot is not None:
        pixels[:2, :4] = spot
    Image.fromarray(pixels).save(path)


def write_mask(path):
    write(path, 0, spot=255)


@pytest.fixture
def parts(tmp_path):
    """Category `bolt` with masks, one defect missed; category `anchor` without masks."""
    bolt, anchor = tmp_path / "bolt", tmp_path / "anchor"
    for n, base in enumerate((10, 20, 200, 30)):
        write(bolt / f"test/good/{n}.png", base)
    for n, spot in enumerate((250, 240, 15)):
        write(bolt / f"test/crack/{n}.png", 5, spot)
        write_mask(bolt / f"ground_truth/crack/{n}_mask.png")
    write(anchor / "test/good/0.png", 10)
    write(anchor / "test/dent/0.png", 10, 255)
    return tmp_path


def test_every_category_is_compared_with_what_it_is(parts):
    evaluation = evaluate(BrightnessDetector(), read_mvtec(parts).test)
    assert list(evaluation.categories) == ["anchor", "bolt"]
    bolt = evaluation.categories["bolt"]
    assert (bolt.good, bolt.defective, bolt.masked) == (4, 3, 3)
    assert bolt.image_auroc == pytest.approx((4 + 4 + 1) / 12)
    assert bolt.false_reject_rate == pytest.approx(1 / 4)
    assert bolt.escape_rate == pytest.approx(1 / 3)
    # A third of the region's pixels lie above everything, the last third below 128 x 3 brighter
    # normal pixels of 128 x 4 + 120 x 3.
    beaten = 1 - 128 * 3 / (128 * 4 + 120 * 3)
    assert bolt.pixel_auroc == pytest.approx((1 + 1 + beaten) / 3)
    assert 0 < bolt.aupro < 1


def test_without_masks_there_are_no_pixel_metrics(parts):
    evaluation = evaluate(BrightnessDetector(), read_mvtec(parts).test)
    assert evaluation.gaps == ["anchor: no masks, so the place of defects was not measured"]
    anchor = evaluation.categories["anchor"]
    assert (anchor.image_auroc, anchor.image_ap, anchor.image_f1_max) == (1.0, 1.0, 1.0)
    assert (anchor.pixel_auroc, anchor.pixel_ap, anchor.pixel_f1_max) == (None, None, None)
    assert (anchor.aupro, anchor.masked) == (None, 0)


def test_defects_without_mask_count_for_the_image_alone(parts):
    with_all = evaluate(BrightnessDetector(), read_mvtec(parts).test).categories["bolt"]
    (parts / "bolt/ground_truth/crack/2_mask.png").unlink()
    bolt = evaluate(BrightnessDetector(), read_mvtec(parts).test).categories["bolt"]
    assert bolt.masked == 2
    assert bolt.image_auroc == with_all.image_auroc
    assert bolt.pixel_auroc == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["good", "crack"])
def test_one_kind_of_image_alone_has_no_ranking(parts, kind):
    samples = [s for s in read_mvtec(parts, ["bolt"]).test if s.defect == kind]
    evaluation = evaluate(BrightnessDetector(), samples)
    (gap,) = evaluation.gaps
    assert ("no defective test images" in gap) == (kind == "good")
    assert ("no good test images" in gap) == (kind == "crack")
    bolt = evaluation.categories["bolt"]
    assert bolt.image_auroc is None
    assert (bolt.false_reject_rate is None) == (kind == "crack")
    assert (bolt.escape_rate is None) == (kind == "good")


def test_masks_are_brought_to_the_size_of_the_map(tmp_path):
    write(tmp_path / "bolt/test/good/0.png", 10)
    for path, spot in (("test/crack/0.png", 255), ("ground_truth/crack/0_mask.png", 255)):
        write(tmp_path / "bolt" / path, 0, spot)
        with Image.open(tmp_path / "bolt" / path) as image:
            image.resize((64, 32), Image.Resampling.NEAREST).save(tmp_path / "bolt" / path)
    metrics = evaluate(BrightnessDetector(), read_mvtec(tmp_path).test).categories["bolt"]
    assert metrics.pixel_auroc == pytest.approx(1.0, abs=0.02)


def test_batches_hold_one_category_and_the_last_may_be_short(parts):
    detector = BrightnessDetector()
    small = evaluate(detector, read_mvtec(parts).test, batch_size=3)
    assert [len(batch) for batch in detector.batches] == [2, 3, 3, 1]
    assert all(len(set(batch)) == 1 for batch in detector.batches)
    assert small == evaluate(BrightnessDetector(), read_mvtec(parts).test, batch_size=100)


def test_the_order_of_the_samples_does_not_matter(parts):
    samples = read_mvtec(parts).test
    assert evaluate(BrightnessDetector(), samples) == evaluate(BrightnessDetector(), samples[::-1])


def test_the_mean_is_over_the_categories_that_have_it(parts):
    evaluation = evaluate(BrightnessDetector(), read_mvtec(parts).test)
    bolt = evaluation.categories["bolt"]
    assert evaluation.mean["image_auroc"] == pytest.approx((bolt.image_auroc + 1) / 2)
    assert evaluation.mean["aupro"] == bolt.aupro


def test_goes_through_json(parts):
    values = evaluate(BrightnessDetector(), read_mvtec(parts).test).to_dict()
    again = json.loads(json.dumps(values, allow_nan=False))
    assert again == values
    assert again["categories"]["anchor"]["aupro"] is None
    assert again["mean"]["escape_rate"] == pytest.approx(1 / 6)


def printed(table):
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_table_has_a_row_for_each_category_and_the_mean(parts):
    text = printed(evaluate(BrightnessDetector(), read_mvtec(parts).test).table())
    rows = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
    anchor, bolt, mean, *pixels = ([cell.strip() for cell in row] for row in rows)
    assert anchor == ["anchor", "1", "1", *["100.0"] * 3, "0.0", "0.0"]
    assert bolt[:4] == ["bolt", "4", "3", "75.0"]
    assert mean[:4] == ["mean", "5", "4", "87.5"]
    assert [row[:3] for row in pixels[:2]] == [["anchor", "0", "-"], ["bolt", "3", "85.3"]]
    assert pixels[2][0] == "mean"
    assert "AUPRO" in text


def test_the_table_leaves_out_pixels_where_no_mask_is(parts):
    text = printed(evaluate(BrightnessDetector(), read_mvtec(parts, ["anchor"]).test).table())
    assert "AUPRO" not in text
    assert "Escapes" in text


def test_progress_goes_to_stderr_and_only_when_asked(parts, capsys):
    evaluate(BrightnessDetector(), read_mvtec(parts).test)
    quiet = capsys.readouterr()
    evaluate(BrightnessDetector(), read_mvtec(parts).test, progress=True)
    shown = capsys.readouterr()
    assert (quiet.out, quiet.err, shown.out) == ("", "", "")
    assert "9/9" in shown.err


def test_nothing_to_evaluate_is_an_error(parts):
    with pytest.raises(DatasetError, match="no test images"):
        evaluate(BrightnessDetector(), [])
    with pytest.raises(DatasetError, match="batch_size must be at least 1"):
        evaluate(BrightnessDetector(), read_mvtec(parts).test, batch_size=0)


def test_an_unreadable_image_is_an_error(parts):
    (parts / "bolt/test/good/0.png").write_bytes(b"no image")
    with pytest.raises(ImageError):
        evaluate(BrightnessDetector(), read_mvtec(parts).test)


def test_a_real_detector_is_evaluated_as_it_stands(parts):
    config = NetworkConfig(
        encoder="mobilenetv3_small_050",
        image_size=(64, 64),
        scan="sweep",
        directions=2,
        depths=(2, 2, 2, 2),
        state_size=1,
    )
    preprocessing = Preprocessing(image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    nothing_passes = Calibration(-1.0, -1.0, 1.0, 1.0, 0.01, 120)
    detector = torch_detector(
        MambaAD(config), preprocessing, Scoring(), {"bolt": nothing_passes}, backend="reference"
    )
    bolt = evaluate(detector, read_mvtec(parts, ["bolt"]).test).categories["bolt"]
    assert (bolt.false_reject_rate, bolt.escape_rate) == (1.0, 0.0)
    assert 0 <= bolt.aupro <= 1
    with pytest.raises(UnknownCategory):
        evaluate(detector, read_mvtec(parts).test)
