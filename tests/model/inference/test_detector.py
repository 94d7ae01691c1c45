import numpy as np
import pytest
import torch
from PIL import Image

from model.calibration.calibration import Calibration
from model.errors import NonFiniteOutput, UnknownCategory
from model.images.preprocess import Preprocessing
from model.inspection import Decision, ImageSize
from model.network import MambaAD, NetworkConfig
from model.network.normalise import normalise
from model.runtimes.torch import torch_detector
from model.scoring.cosine_map import anomaly_map
from model.scoring.map_baseline import Baseline
from model.scoring.scores import Scoring

CONFIG = NetworkConfig(
    encoder="test_efficientnet", image_size=(64, 64), depths=(2, 2, 2, 2), directions=2,
    state_size=2,
)  # fmt: skip
HALF = (0.5, 0.5, 0.5)


def calibration(image_threshold, pixel_threshold=1e9):
    return Calibration(
        image_threshold=image_threshold, pixel_threshold=pixel_threshold, image_scale=0.1,
        pixel_scale=0.1, alpha=0.01, good_images=100,
    )  # fmt: skip


def make_detector(calibrations, scoring=Scoring(), baselines=None):  # noqa: B008 (frozen)
    torch.manual_seed(0)
    preprocessing = Preprocessing(image_size=(64, 64), mean=HALF, std=HALF)
    return torch_detector(
        MambaAD(CONFIG), preprocessing, scoring, calibrations, baselines=baselines
    )


def batch(count=3):
    generator = torch.Generator().manual_seed(2)
    shape = (count, 3, 64, 64)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).numpy()


def normalised(detector):
    return normalise(torch.from_numpy(batch()), detector.preprocessing)


SIZES = [ImageSize(100, 200), ImageSize(64, 64), ImageSize(30, 20)]


def test_maps_are_the_networks():
    detector = make_detector({})
    maps = detector.anomaly_maps(batch())
    with torch.no_grad():
        features = detector.engine.network(normalised(detector))
        expected = anomaly_map(*features, (64, 64), sigma=4.0).numpy()
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    assert (maps.dtype, maps.shape) == (np.float32, (3, 64, 64))


def test_each_image_is_decided_by_its_categorys_threshold():
    detector = make_detector({"a": calibration(0.0), "b": calibration(1e9)})
    inspections = detector.inspect(batch(), ["a", "b", "a"], SIZES)
    assert [i.decision for i in inspections] == [Decision.NG, Decision.OK, Decision.NG]
    assert [i.category for i in inspections] == ["a", "b", "a"]
    assert [i.score > 0.5 for i in inspections] == [True, False, True]
    maps = detector.anomaly_maps(batch())
    for inspection, values, size in zip(inspections, maps, SIZES, strict=True):
        assert inspection.raw_score == pytest.approx(float(values.max()), abs=1e-6)
        assert inspection.anomaly_map.image_size == size
    assert set(inspections[0].timings_ms) == {"encoder", "decoder", "anomaly_map", "decision"}
    assert all(ms >= 0 for ms in inspections[0].timings_ms.values())


def test_at_the_threshold_is_ok_and_just_above_is_ng():
    detector = make_detector({"a": calibration(1.0)})
    raw = detector.inspect(batch(1), ["a"], SIZES[:1])[0].raw_score
    for threshold, decision in ((raw, Decision.OK), (np.nextafter(raw, 0), Decision.NG)):
        detector.calibrations["a"] = calibration(float(threshold))
        inspection = detector.inspect(batch(1), ["a"], SIZES[:1])[0]
        assert inspection.decision == decision
        assert (inspection.score == 0.5) == (decision == Decision.OK)


def test_a_calibration_of_the_images_own_goes_before_the_categorys():
    detector = make_detector({"a": calibration(1e9)})
    raw = detector.inspect(batch(1), ["a"], SIZES[:1])[0].raw_score
    review = calibration(0.0).with_thresholds(image=raw + 1, review=raw - 1)
    calibrations = [calibration(0.0), review, calibration(1e9)]
    inspections = detector.inspect(batch(1).repeat(3, axis=0), ["a"] * 3, SIZES, calibrations)
    assert [i.decision for i in inspections] == [Decision.NG, Decision.REVIEW, Decision.OK]
    assert [i.threshold for i in inspections] == [0.0, raw + 1, 1e9]
    assert [len(i.regions) for i in inspections] == [1, 1, 0]


def test_regions_come_with_the_decision():
    detector = make_detector({"a": calibration(0.0, pixel_threshold=0.0)})
    inspection = detector.inspect(batch(1), ["a"], [ImageSize(128, 256)])[0]
    assert inspection.regions[0].box == (0, 0, 256, 128)


def test_what_is_ng_is_always_shown_somewhere():
    detector = make_detector({"a": calibration(0.0, pixel_threshold=1e9)})
    inspection = detector.inspect(batch(1), ["a"], [ImageSize(64, 64)])[0]
    assert inspection.decision == Decision.NG
    row, column = np.unravel_index(inspection.anomaly_map.values.argmax(), (64, 64))
    assert [region.peak for region in inspection.regions] == [(column, row)]
    detector.calibrations["a"] = calibration(1e9, pixel_threshold=1e9)
    assert detector.inspect(batch(1), ["a"], [ImageSize(64, 64)])[0].regions == ()


def test_the_score_statistic_is_the_scorings():
    scoring = Scoring(statistic="top_mean", top_fraction=0.1)
    detector = make_detector({"a": calibration(1.0)}, scoring)
    raw = detector.inspect(batch(1), ["a"], SIZES[:1])[0].raw_score
    top = np.sort(detector.anomaly_maps(batch(1)).ravel())[-round(0.1 * 64 * 64) :]
    assert raw == pytest.approx(top.mean(), rel=1e-5)


def test_scales_without_weight_are_left_out():
    detector = make_detector({}, Scoring(scale_weights=(0.0, 1.0, 3.0)))
    with torch.no_grad():
        teacher, student = detector.engine.network(normalised(detector))
        distances = [anomaly_map([t], [s], (64, 64)) for t, s in zip(teacher, student, strict=True)]
        expected = (distances[1] + 3 * distances[2]) / 4
        assert len(detector.engine.network.reconstruct(teacher, unused_scales=1)) == 2
    np.testing.assert_allclose(detector.anomaly_maps(batch()), expected.numpy(), atol=1e-5)


def test_each_category_is_measured_from_its_own_baseline():
    plain = make_detector({}).anomaly_maps(batch())
    ones = np.ones((64, 64), dtype=np.float32)
    baselines = {"a": Baseline(0 * ones, ones), "b": Baseline(ones, 2 * ones)}
    calibrations = {"a": calibration(1.0), "b": calibration(1.0), "c": calibration(1.0)}
    detector = make_detector(calibrations, Scoring(standardise=True), baselines)
    a, b = detector.anomaly_maps(batch(2), ["a", "b"])
    np.testing.assert_allclose(a, plain[0], atol=1e-6)
    np.testing.assert_allclose(b, (plain[1] - 1) / 2, atol=1e-6)
    inspections = detector.inspect(batch(2), ["a", "b"], SIZES[:2])
    assert inspections[1].raw_score == pytest.approx(float(b.max()), abs=1e-6)
    with pytest.raises(UnknownCategory, match="no baseline for c"):
        detector.inspect(batch(1), ["c"], SIZES[:1])


def test_a_batch_changes_nothing_for_its_images():
    detector = make_detector({"a": calibration(1.0)})
    together = detector.inspect(batch(), ["a"] * 3, SIZES)
    for i, inspection in enumerate(together):
        alone = detector.inspect(batch()[i : i + 1], ["a"], SIZES[i : i + 1])[0]
        assert alone.raw_score == pytest.approx(inspection.raw_score, rel=1e-4)


def test_images_are_inspected_upright_at_their_own_size():
    detector = make_detector({"a": calibration(1.0)})
    image = Image.fromarray(np.arange(60 * 80, dtype=np.uint32).astype(np.uint8).reshape(60, 80))
    exif = image.getexif()
    exif[0x0112] = 8
    inspections = detector.inspect_images([image, image.convert("RGB")], "a")
    assert [i.anomaly_map.image_size for i in inspections] == [ImageSize(80, 60), ImageSize(60, 80)]


def test_an_unknown_category_is_refused_before_any_work():
    detector = make_detector({"bottle": calibration(1.0)})
    with pytest.raises(UnknownCategory, match="'botle' is not calibrated; have: bottle"):
        detector.inspect(batch(1), ["botle"], SIZES[:1])
    with pytest.raises(UnknownCategory, match="none yet: run `mambaad calibrate`"):
        make_detector({}).inspect(batch(1), ["bottle"], SIZES[:1])


def test_a_broken_network_never_answers():
    detector = make_detector({"a": calibration(1.0)})
    with torch.no_grad():
        detector.engine.network.decoder.expands[0].norm.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteOutput, match="was not inspected"):
        detector.inspect(batch(1), ["a"], SIZES[:1])
    with pytest.raises(NonFiniteOutput):
        detector.anomaly_maps(batch(1))


def test_an_image_without_an_answer_leaves_the_others_theirs(monkeypatch):
    detector = make_detector({"a": calibration(0.0)})
    expected = detector.inspect(batch(), ["a"] * 3, SIZES)
    real = detector.engine.compare

    def with_nan(images, lap):
        maps = real(images, lap)
        maps[(images == batch()[1]).all(axis=(1, 2, 3)), 5, 5] = np.nan
        return maps

    monkeypatch.setattr(detector.engine, "compare", with_nan)
    first, second, third = detector.attempt(batch(), ["a"] * 3, SIZES)
    assert isinstance(second, NonFiniteOutput)
    assert [inspection.raw_score for inspection in (first, third)] == [
        expected[i].raw_score for i in (0, 2)
    ]
    with pytest.raises(NonFiniteOutput):
        detector.inspect(batch(), ["a"] * 3, SIZES)
