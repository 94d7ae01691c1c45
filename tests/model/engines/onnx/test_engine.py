import numpy as np
import onnxruntime as ort
import pytest

from model.calibration.calibration import Calibration
from model.engines.onnx.engine import OnnxEngine
from model.errors import BackendUnavailable, CheckpointError, DeviceLost, NonFiniteOutput
from model.errors import OutOfMemory as NoMemory
from model.images.preprocess import Preprocessing
from model.inference.detector import Detector
from model.inspection import Decision, ImageSize
from model.scoring.map_baseline import Baseline
from model.scoring.scores import Scoring
from tests.onnx_files import BROKEN, HALF, brightness

SIZE = (32, 48)


@pytest.fixture(scope="module")
def engine():
    return OnnxEngine(brightness(SIZE, ("raw_map", "raw_score")), SIZE)


def pixels(count=2, seed=0):
    shape = (count, 3, *SIZE)
    return np.random.default_rng(seed).integers(8, 256, shape, dtype=np.uint8)


def nothing(_stage):
    pass


def test_the_raw_map_of_each_image_comes_back(engine):
    stages = []
    maps = engine.compare(pixels(3), stages.append)
    np.testing.assert_allclose(maps, pixels(3).mean(axis=1) / 255, atol=1e-6)
    assert (maps.dtype, stages, engine.device) == (np.float32, ["network"], "cpu")
    maps[:] = 0  # the caller owns the array
    assert engine.answers()


def test_pixels_may_lie_anywhere(engine):
    mirrored = pixels()[:, :, ::-1].copy()[:, :, ::-1]
    np.testing.assert_array_equal(
        engine.compare(mirrored, nothing), engine.compare(pixels(), nothing)
    )
    read_only = pixels()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(
        engine.compare(read_only, nothing), engine.compare(pixels(), nothing)
    )


def test_a_detector_decides_by_it_as_by_any_other(engine):
    calibrations = {
        name: Calibration(threshold, threshold, 0.1, 0.1, 0.01, 150)
        for name, threshold in (("bolt", 2.0), ("nut", 0.5))
    }
    ones = np.ones(SIZE, np.float32)
    baselines = {"bolt": Baseline(0 * ones, ones), "nut": Baseline(0.5 * ones, 0.5 * ones)}
    detector = Detector(
        engine, Preprocessing(image_size=SIZE, mean=HALF, std=HALF), Scoring(standardise=True),
        calibrations, baselines,
    )  # fmt: skip
    images = pixels(3)
    images[2, :, 0, 0] = BROKEN
    sizes = [ImageSize(*SIZE)] * 3
    bolt, nut, broken = detector.attempt(images, ["bolt", "nut", "nut"], sizes)
    assert (bolt.decision, nut.decision) == (Decision.OK, Decision.NG)
    peak = images[1].mean(axis=0).max() / 255
    assert nut.raw_score == pytest.approx((peak - 0.5) / 0.5, abs=1e-5)
    assert isinstance(broken, NonFiniteOutput)
    assert set(nut.timings_ms) == {"network", "decision"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "onnxruntime cannot use"),
        (b"not a model at all", "onnxruntime cannot use"),
        (brightness((64, 64)), "not from `mambaad export`"),
        (brightness(SIZE, ("raw_score",)), "an output raw_map"),
        (brightness(SIZE, ("residuals",)), "or flat residuals"),
    ],
    ids=["empty", "other", "another size", "no map", "differences on one grid"],
)
def test_another_file_is_refused_when_it_is_opened(data, words):
    with pytest.raises(CheckpointError, match=words):
        OnnxEngine(data, SIZE)


def test_a_gpu_that_onnxruntime_cannot_use_is_said():
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime computes on GPUs")
    with pytest.raises(BackendUnavailable, match="onnxruntime-gpu"):
        OnnxEngine(brightness(SIZE), SIZE, "cuda:0")


@pytest.mark.parametrize(
    ("message", "device", "expected", "answers"),
    [
        ("Failed to allocate memory for requested buffer of size 9", "cpu", NoMemory, True),
        ("std::bad_alloc", "cpu", NoMemory, True),
        ("CUDA failure 2: out of memory ; GPU=0", "cuda:0", NoMemory, True),
        ("CUDA failure 700: an illegal memory access was encountered", "cuda:0", DeviceLost, False),
        ("Got invalid dimensions for input", "cpu", RuntimeError, True),
    ],
)
def test_errors_are_told_apart_by_what_they_say(message, device, expected, answers):
    class Failing:
        def run(self, *_):
            raise RuntimeError(message)

    engine = OnnxEngine(brightness(SIZE), SIZE)
    engine._session, engine.device = Failing(), device
    with pytest.raises(expected):
        engine.compare(pixels(), nothing)
    assert engine.answers() is answers
