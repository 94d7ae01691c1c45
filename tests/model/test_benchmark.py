import json

import pytest
import torch

from model.benchmark import Subject, device_name, measure, of_checkpoint, of_paper, versions
from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.errors import UnknownCategory
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.runtimes.torch import torch_detector
from model.scoring.scores import Scoring

TINY = NetworkConfig(
    encoder="test_efficientnet",
    image_size=(64, 64),
    directions=2,
    depths=(2, 2, 2, 2),
    state_size=2,
)
PREPROCESSING = Preprocessing(image_size=(64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
CALIBRATION = Calibration(1.0, 1.0, 0.1, 0.1, 0.01, 100)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MambaAD(TINY).eval()


def test_a_timing_adds_up(network):
    detector = torch_detector(network, PREPROCESSING, Scoring(), {"bolt": CALIBRATION})
    timing = measure(Subject("tiny", detector, "bolt", TINY, "cpu"), batch_size=3, repeats=4)
    assert 0 < timing.p50_ms <= timing.p95_ms <= timing.p99_ms
    assert set(timing.stages_p50_ms) == {"encoder", "decoder", "anomaly_map", "decision"}
    # 3 images a batch; no batch is slower than the p99, apart from rounding
    assert timing.images_per_second >= 3 * 1000 / (1.1 * timing.p99_ms)
    assert timing.threads == torch.get_num_threads()
    values = json.loads(json.dumps(timing.to_dict()))
    assert values["network"]["directions"] == 2
    assert values["versions"]["torch"] == torch.__version__
    assert "tiny: batch 3, 4 repeats" in timing.text()


def test_the_papers_configuration_is_the_papers():
    subject = of_paper("cpu")
    assert subject.network == NetworkConfig()
    trained = sum(t.numel() for t in subject.detector.engine.network.parameters())
    assert trained == pytest.approx(25.6e6, rel=0.01)


def test_a_checkpoint_that_cannot_decide_cannot_be_timed(network, tmp_path):
    store = CheckpointStore(tmp_path)
    plain = {"training": {}, "metrics": {}}
    bare = store.save("bare", network, PREPROCESSING, Scoring(), {}, **plain)
    with pytest.raises(UnknownCategory, match="not calibrated"):
        of_checkpoint(bare, "cpu")
    good = store.save("good", network, PREPROCESSING, Scoring(), {"bolt": CALIBRATION}, **plain)
    assert (of_checkpoint(good, "cpu").label, of_checkpoint(good, "cpu").category) == (
        "good 1",
        "bolt",
    )


def test_the_device_and_the_versions_are_named():
    assert device_name("cpu")
    assert set(versions()) == {"python", "torch", "numba", "numpy", "timm"}
