"""OpenVINO's engine beside torch's: the same values, whatever is scored."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoints.checkpoint import Checkpoint
from model.engines.openvino import engine as engine_module
from model.engines.openvino import graphs
from model.engines.openvino.engine import OpenvinoEngine
from model.engines.torch.engine import TorchEngine
from model.errors import BackendUnavailable, OutOfMemory
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.runtimes.runtime import detector_of
from model.runtimes.torch import open_checkpoint
from model.scoring.scores import Scoring

SHIPPED = Path(__file__).parents[4] / "weights/solar/3"
SIZE = (32, 64)
CONFIG = NetworkConfig(
    encoder="test_efficientnet", image_size=SIZE, scan="sweep", directions=4, depths=(2, 3, 2, 2),
    state_size=2,
)  # fmt: skip
PREPROCESSING = Preprocessing(image_size=SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
WEIGHTS = (0.0, 1.0, 2.0)
SCORINGS = {
    "cosine": Scoring(),
    "differences": Scoring(distance="mahalanobis", scale_weights=WEIGHTS),
    "memory, unused scale, no blur": Scoring(memory=8, sigma=0.0, scale_weights=WEIGHTS),
    "differences and memory": Scoring(distance="mahalanobis", memory=8),
}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Keep graphs in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        made = tmp_path_factory.mktemp("graphs")
        patch.setattr(graphs, "cache_folder", lambda: made)
        yield made


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = MambaAD(CONFIG)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return made.eval()


def built(network, scoring):
    return OpenvinoEngine(network, PREPROCESSING, scoring, threads=2)


def nothing(_stage):
    pass


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, *SIZE), dtype=np.uint8)


@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
def test_each_scoring_gets_what_torch_gives(network, scoring):
    expected = TorchEngine(network, PREPROCESSING, scoring).compare(pixels(3), nothing)
    actual = built(network, scoring).compare(pixels(3), nothing)
    assert (actual.dtype, actual.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(actual, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_stages_are_named_and_the_result_is_the_callers(network):
    engine = built(network, Scoring())
    stages = []
    first = engine.compare(pixels(1), stages.append)
    assert stages == ["encoder", "decoder"]
    copy = first.copy()
    engine.compare(pixels(2, seed=1), stages.append)
    assert stages[2:] == ["network"]
    np.testing.assert_array_equal(first, copy)
    first[:] = 0
    read_only = pixels(1)[:, :, ::-1]
    read_only.flags.writeable = False
    straight = engine.compare(np.ascontiguousarray(read_only), nothing)
    np.testing.assert_array_equal(engine.compare(read_only, nothing), straight)
    assert (engine.device, engine.answers()) == ("cpu", True)
    assert engine.nbytes >= sum(tensor.nbytes for tensor in network.state_dict().values())


def test_a_graph_is_read_again_unless_its_file_is_damaged(network, folder, monkeypatch):
    expected = built(network, Scoring()).compare(pixels(1), nothing)

    def never(*_arguments):
        raise AssertionError("converted again")

    monkeypatch.setattr(graphs, "_converted", never)
    again = built(network, Scoring())
    np.testing.assert_array_equal(again.compare(pixels(1), nothing), expected)
    whole = next(file for file in folder.iterdir() if file.suffix == ".graph")
    for data in (b"", whole.read_bytes()[:-1], whole.read_bytes()[:-1] + b"\1"):
        (folder / "damaged").write_bytes(data)
        assert graphs._read("damaged", {}) is None
    assert graphs._read("missing", {}) is None


def test_other_weights_are_another_graph(network):
    engine = built(network, Scoring())
    before = engine.compare(pixels(1), nothing)
    twin = MambaAD(CONFIG, network.encoder)
    twin.load_trained_state(network.trained_state())
    with torch.no_grad():
        twin.decoder.stages[0][0].merge.weight.mul_(1.5)
    after = built(twin, Scoring()).compare(pixels(1), nothing)
    assert np.abs(after - before).max() > 1e-4


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path, monkeypatch, caplog):
    class Compiled:
        def export_model(self):
            return io.BytesIO(b"graph")

    monkeypatch.setattr(graphs, "cache_folder", lambda: tmp_path / "new")
    graphs._write("graph", Compiled())
    assert (tmp_path / "new/graph").read_bytes().endswith(b"graph")
    monkeypatch.setattr(graphs, "cache_folder", lambda: tmp_path / "new/graph/openvino")
    graphs._write("graph", Compiled())
    assert "converted at every start" in caplog.text


def test_a_precision_that_this_processor_lacks_is_named(network, monkeypatch):
    class Refusing:
        def __init__(self, _module, _example, _description, precision, _threads):
            if precision != "float32":
                raise RuntimeError("cannot compile")

    monkeypatch.setattr(engine_module, "Graph", Refusing)
    for says_so in (True, False):  # OpenVINO fails, or would compute in float32 silently
        monkeypatch.setattr(engine_module, "has_precision", lambda _name, has=not says_so: has)
        with pytest.raises(BackendUnavailable, match="bfloat16 on this processor; use float32"):
            OpenvinoEngine(network, PREPROCESSING, Scoring(), 1, "bfloat16")


def test_a_processor_says_which_precisions_it_has(monkeypatch):
    class Core:
        def get_property(self, *_names):
            return ["FP32", "INT8", "EXPORT_IMPORT"]

    assert graphs.has_precision("float32")
    monkeypatch.setattr(graphs, "core", Core)
    assert (graphs.has_precision("float32"), graphs.has_precision("bfloat16")) == (True, False)


@pytest.mark.parametrize(
    ("message", "expected"), [("std::bad_alloc", OutOfMemory), ("another", RuntimeError)]
)
def test_a_lack_of_memory_is_told_apart(network, message, expected):
    def failing(*_inputs):
        raise RuntimeError(message)

    engine = built(network, Scoring())
    engine._encoder = failing
    with pytest.raises(expected):
        engine.compare(pixels(1), nothing)


def test_the_shipped_checkpoint_scores_as_in_torch():
    checkpoint = Checkpoint.load(SHIPPED)
    images = np.concatenate([saved.images[:1] for saved in checkpoint.golden.values()])
    names = list(checkpoint.golden)
    torch_detector = open_checkpoint(checkpoint)
    parts = (checkpoint.network, checkpoint.preprocessing, checkpoint.scoring)
    detector = detector_of(checkpoint, OpenvinoEngine(*parts, 2))
    for values in ("raw_scores", "anomaly_maps"):
        expected = getattr(torch_detector, values)(images, names)
        np.testing.assert_allclose(getattr(detector, values)(images, names), expected, atol=1e-4)
