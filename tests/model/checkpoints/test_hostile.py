"""Versions made by a stranger are refused with a reason, at a bounded cost, or usable."""

import json
import os
import shutil
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from model.calibration.calibration import Calibration
from model.calibration.operating_point import HighestF1
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.checkpoints.files import serialise, sha256
from model.checkpoints.golden import GoldenImages
from model.checkpoints.manifest import Manifest
from model.checkpoints.store import StoredVersion
from model.errors import CheckpointError, ModelError
from model.images.areas import Area
from model.inspection import ImageSize
from model.network import MambaAD
from model.scoring.baselines import to_arrays
from model.scoring.fused_baseline import FusedBaseline
from model.scoring.map_baseline import Baseline
from model.scoring.memory import Memory
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.scores import Scoring
from tests.hostile_manifests import hostile
from tests.tiny import PREPROCESSING, TINY

SHIPPED = Path(__file__).parents[3] / "weights/solar/3/manifest.json"
MAPS = np.random.default_rng(0).random((4, 64, 64), dtype=np.float32)
MOST_BYTES = 64_000_000
"""Memory for reading a version, implied by the bounds of its text and values."""


def point():
    scores = [1.0, 2.0, 3.0]
    fitted = Calibration.fit(scores, [2.0, 3.0, 4.0], review_alpha=0.4, folds=2)
    return fitted.for_goal(HighestF1(), scores, [2.5, 5.0])


def remembered(decoder, network):
    channels = sum(network.encoder.channels[1:])
    patches = np.random.default_rng(2).normal(size=(20, channels)).astype(np.float32)
    scale = np.array([[0, 1], [0.5, 2]], np.float32)
    memory = Memory(patches, np.eye(channels, dtype=np.float32), (8, 8), (64, 64), 4.0)
    return FusedBaseline(decoder, memory, scale, 1.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """One version for each kind of baseline, with every optional field."""
    store = CheckpointStore(tmp_path_factory.mktemp("hostile"))
    torch.manual_seed(0)
    network = MambaAD(TINY).eval()
    shapes = network.feature_shapes
    differences = np.random.default_rng(1).normal(
        size=(6, sum(c * h * w for c, h, w in shapes[1:]))
    )
    features = FeatureBaseline.fit(
        [differences.astype(np.float32)], shapes, (0.0, 1.0, 1.0), (64, 64), 4.0
    )
    common = {
        "training": {"epochs": 3, "curve": {"loss": [1.0, 0.5]}},
        "metrics": {"image_auroc": 0.9},
        "golden": {"bolt": GoldenImages(np.zeros((2, 3, 64, 64), np.uint8), (1.0, 2.0), 0.1)},
        "areas": {"bolt": Area(include=(((0, 0), (1, 0), (1, 1)),))},
        "license": "CC0-1.0",
    }
    of_maps = Baseline.fit([MAPS])
    for scoring, baseline in (
        (Scoring(standardise=True), of_maps),
        (Scoring(standardise=True, memory=30), remembered(of_maps, network)),
        (Scoring(distance="mahalanobis", scale_weights=(0.0, 1.0, 1.0)), features),
    ):
        saved = store.save(
            "parts", network, PREPROCESSING, scoring, {"bolt": point()},
            baselines={"bolt": baseline}, **common,
        )  # fmt: skip
    store.update(saved, calibrations={"bolt": point()}, source="a test")
    return store.root


@pytest.fixture
def copy(root, tmp_path):
    shutil.copytree(root, tmp_path / "weights")
    return CheckpointStore(tmp_path / "weights")


@contextmanager
def bounded(most_bytes=MOST_BYTES):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()


def use(version):
    """Use a version like a service."""
    for calibration in version.calibrations.values():
        calibration.promise()
        for raw in (-1e30, 0.0, 1.5, 1e30):
            assert 0 <= calibration.score(raw) <= 1
            assert 0 <= calibration.pixel_score(raw) <= 1
            calibration.decide(raw)
    version.scoring.raw_scores(MAPS)
    version.preprocessing.frame(ImageSize(100, 80))
    json.dumps(version.manifest.model_dump(), allow_nan=False).encode()


FEW = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Without shrinking the example, which takes minutes."""


@pytest.mark.parametrize("number", ["1", "2", "3"])
@settings(FEW, max_examples=40)
@given(data=st.data())
def test_a_changed_manifest_is_refused_or_usable(root, number, data):
    directory = root / "parts" / number
    path = directory / "manifest.json"
    original = path.read_text("utf-8")
    try:
        path.write_text(data.draw(hostile(json.loads(original))), "utf-8")
        with bounded():
            entries = CheckpointStore(root).entries()
            assert entries.keys() == {"parts/1", "parts/2", "parts/3"}
            try:
                use(StoredVersion.read(directory))
            except CheckpointError as error:
                assert len(str(error)) < 20_000
            except ModelError:
                pass
    finally:
        path.write_text(original, "utf-8")


@settings(FEW, max_examples=12)
@given(data=st.data())
def test_a_changed_network_is_refused_or_the_one_in_the_file(root, data):
    directory = root / "parts/1"
    path = directory / "manifest.json"
    original = path.read_text("utf-8")
    try:
        path.write_text(data.draw(hostile(json.loads(original), within="network")), "utf-8")
        try:
            loaded = Checkpoint.load(directory)
        except CheckpointError:
            return
        sizes = sum(t.nbytes for t in loaded.network.trained_state().values())
        assert sizes < 2 * (directory / "network.safetensors").stat().st_size
    finally:
        path.write_text(original, "utf-8")


@settings(FEW, max_examples=50)
@given(hostile(json.loads(SHIPPED.read_text("utf-8"))))
def test_the_shipped_manifest_changed_is_read_or_refused(text):
    with bounded():
        try:
            Manifest.from_json(text)
        except CheckpointError as error:
            assert str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"network": {**TINY.to_dict(), "state_size": 10**6}},
        {"network": {**TINY.to_dict(), "image_size": [2**20, 2**20]}},
        {"network": {**TINY.to_dict(), "depths": [10**6] * 4}},
        {"network": {**TINY.to_dict(), "encoder": "x" * 1000}},
    ],
)
def test_a_network_beyond_every_bound_is_no_entry_of_the_store(copy, change):
    path = copy.root / "parts/2/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    assert set(copy.problems()) == {"parts/2"}
    (field,) = [k for k, v in change["network"].items() if v != TINY.to_dict()[k]]
    assert f"network: {field}" in copy.problems()["parts/2"]


@pytest.mark.parametrize(
    "network",
    [
        {**TINY.to_dict(), "state_size": 256},
        {**TINY.to_dict(), "depths": [48, 2, 2, 2]},
        {**TINY.to_dict(), "encoder": "eva_giant_patch14_224"},
        {**TINY.to_dict(), "encoder": "convnext_xxlarge"},
        {**TINY.to_dict(), "encoder": "hf-hub:somebody/something"},
    ],
)
def test_a_network_that_its_files_do_not_hold_takes_no_memory(copy, network):
    """These networks are within the bounds, and up to 4 GB large."""
    path = copy.root / "parts/1/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"network": network}), "utf-8")
    before = resident_bytes()
    with pytest.raises(CheckpointError, match="fit together"):
        copy.load("parts", "1")
    assert resident_bytes() - before < 300_000_000


def resident_bytes():
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_file_of_another_version_s_shapes_is_refused_before_it_is_read(copy):
    """Its hash is right, as a manifest's author can ensure."""
    directory = copy.root / "parts/1"
    path = directory / "network.safetensors"
    content = serialise("network", {"a": np.zeros(2**20, np.float32)})
    path.write_bytes(content)
    manifest = directory / "manifest.json"
    values = json.loads(manifest.read_text("utf-8"))
    values["sha256"][path.name] = sha256(content)
    manifest.write_text(json.dumps(values), "utf-8")
    with pytest.raises(CheckpointError, match=r"network\.safetensors and its manifest do not fit"):
        copy.load("parts", "1")


def with_baselines(directory, arrays):
    """Replace a version's baselines, with the right hash, as a manifest's author can."""
    content = save(dict(arrays))  # not by `serialise`, which refuses NaN
    (directory / "baselines.safetensors").write_bytes(content)
    manifest = directory / "manifest.json"
    values = json.loads(manifest.read_text("utf-8"))
    values["sha256"]["baselines.safetensors"] = sha256(content)
    manifest.write_text(json.dumps(values), "utf-8")


def test_baselines_with_more_places_than_the_network_has_are_refused(copy):
    directory = copy.root / "parts/3"
    arrays = {
        f"{what}_{k}/bolt": np.zeros(shape, np.float32)
        for k in (0, 1)
        for what, shape in {
            "mean": (10**5, 0, 1), "whitening": (0, 10**5 * (10**5 + 1) // 2), "unit": (0,)
        }.items()
    }  # fmt: skip
    with_baselines(directory, arrays)
    with bounded(), pytest.raises(CheckpointError, match="fit together"):
        StoredVersion.read(directory)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("patches/bolt", np.zeros((31, 72), np.float32)),
        ("patches/bolt", np.zeros((0, 72), np.float32)),
        ("patches/bolt", np.zeros((3, 0), np.float32)),
        ("patches/bolt", np.zeros((3, 72, 1), np.float32)),
        ("patches/bolt", np.zeros((3, 72), np.int64)),
        ("patches/bolt", np.full((3, 72), np.nan, np.float32)),
        ("patches/bolt", None),
        ("patches/nut", np.zeros((3, 72), np.float32)),
        ("patch/bolt", np.zeros((3, 72), np.float32)),
        ("transform/bolt", np.zeros((72, 71), np.float32)),
        ("transform/bolt", np.full((72, 72), np.inf, np.float32)),
        ("transform/bolt", None),
        ("scale/bolt", np.zeros((2, 2), np.float32)),
        ("scale/bolt", np.array([[0, np.inf], [0, 1]], np.float32)),
        ("scale/bolt", np.zeros((2, 3), np.float32)),
        ("scale/bolt", None),
        ("mean/bolt", None),
        ("deviation/bolt", np.zeros((32, 32), np.float32)),
    ],
)
def test_a_memory_that_cannot_be_one_is_refused(copy, name, array):
    directory = copy.root / "parts/2"
    arrays = to_arrays(StoredVersion.read(directory).baselines)
    arrays.pop(name, None)
    with_baselines(directory, arrays if array is None else arrays | {name: array})
    with bounded(), pytest.raises(CheckpointError, match="fit together"):
        StoredVersion.read(directory)


def test_a_memory_of_another_encoder_is_refused(copy):
    directory = copy.root / "parts/2"
    arrays = to_arrays(StoredVersion.read(directory).baselines)
    of_5 = {"patches/bolt": np.zeros((3, 5)), "transform/bolt": np.eye(5)}
    with_baselines(directory, arrays | {k: v.astype(np.float32) for k, v in of_5.items()})
    with pytest.raises(CheckpointError, match="5 channels, expected the encoder's"):
        Checkpoint.load(directory)


def test_golden_images_of_more_bytes_than_allowed_are_refused(copy):
    path = copy.root / "parts/1/manifest.json"
    values = json.loads(path.read_text("utf-8"))
    entry = {"raw_scores": [1.0] * 256, "tolerance": 0.1}
    values["golden"] = {f"c{n}": entry for n in range(800)}
    path.write_text(json.dumps(values), "utf-8")
    with bounded(), pytest.raises(CheckpointError, match="bytes of golden images, more than"):
        StoredVersion.read(path.parent)


def test_links_out_of_the_store_are_refused(copy, tmp_path):
    for name, message in (
        ("parts/1/manifest.json", "cannot use .*link out of the store"),
        ("parts/1/network.safetensors", "link out of the store"),
        ("parts/1/golden.safetensors", "link out of the store"),
    ):
        path, outside = copy.root / name, tmp_path / Path(name).name
        path.rename(outside)
        path.symlink_to(outside)
        with pytest.raises(CheckpointError, match=message):
            copy.load("parts", "1")
        path.unlink()
        outside.rename(path)
    copy.load("parts", "1")
    (copy.root / "other").symlink_to(tmp_path, target_is_directory=True)
    shutil.copytree(copy.root / "parts/1", tmp_path / "1")
    assert "link out of the store" in copy.problems()["other/1"]


def test_odd_folders_are_listed_and_stop_nothing(copy):
    for name in (b"\xff\xfe", b"line\nbreak", b"a b"):
        (copy.root / os.fsdecode(name) / "1").mkdir(parents=True)
    (copy.root / "file").write_text("x")
    (copy.root / "parts/9").write_text("a file")
    (copy.root / "parts/8").symlink_to("8")
    os.mkfifo(copy.root / "parts/2/manifest.json.pipe")
    (copy.root / "parts/7").mkdir()
    os.mkfifo(copy.root / "parts/7/manifest.json")
    problems = copy.problems()
    assert set(problems) == {
        "\\udcff\\udcfe/1", "line\\nbreak/1", "a b/1", "parts/7", "parts/8", "parts/9"
    }  # fmt: skip
    assert {manifest.version for manifest in copy.manifests()} == {"1", "2", "3"}
    json.dumps(problems).encode()


def test_what_could_not_be_read_again_is_not_written(root):
    manifest = Manifest.read(root / "parts/1")
    for training in ({"deep": json.loads("[" * 40 + "]" * 40)}, {"many": [0] * 300_000}):
        with pytest.raises(CheckpointError):
            manifest.model_copy(update={"training": training}).to_json()
