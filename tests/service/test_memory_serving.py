"""The service decides by a memory of good parts as the detector does."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize
from model.runtimes.torch import torch_detector
from model.scoring.fused_baseline import FusedBaseline
from model.scoring.memory import Memory
from model.scoring.scores import Scoring
from service.settings import Settings, VersionSettings, WorkerSettings
from service.workers.child.checkpoint import LoadedCheckpoint

SIZE = (64, 64)
SCORING = Scoring(memory=64, memory_weight=2.0)


@pytest.fixture(scope="module")
def parts(network):
    """A detector that remembers one image for each category, which scores far above new ones."""
    net = network()
    preprocessing = Preprocessing(image_size=SIZE, mean=net.encoder.mean, std=net.encoder.std)
    detector = torch_detector(net, preprocessing, SCORING, {})
    for number, category in enumerate(("bolt", "nut")):
        rows = detector.compare(noise(number)[None])
        patches = rows[0, SIZE[0] * SIZE[1] :].reshape(-1, 64).T
        plain = np.eye(patches.shape[1], dtype=np.float32)
        memory = Memory(np.ascontiguousarray(patches), plain, (8, 8), SIZE, SCORING.sigma)
        high = np.quantile(memory.maps(rows[:, SIZE[0] * SIZE[1] :] + 0.1), 0.9)
        scale = np.array([[0, 1], [0, high]], np.float32)
        detector.baselines[category] = FusedBaseline(None, memory, scale, 2.0)
    return detector


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (3, *SIZE), np.uint8)


def png(pixels):
    encoded = BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(encoded, "PNG")
    return encoded.getvalue()


def test_parts_like_those_remembered_are_ok(parts, network, tmp_path, start_server, eventually):
    remembered, unknown = (parts.raw_scores(noise(seed)[None], ["bolt"])[0] for seed in (0, 1))
    assert remembered < unknown
    threshold = (remembered + unknown) / 2
    calibration = Calibration(
        image_threshold=threshold, pixel_threshold=threshold, image_scale=1.0, pixel_scale=1.0,
        alpha=0.01, good_images=150,
    )  # fmt: skip
    CheckpointStore(tmp_path / "weights").save(
        "parts", network(), parts.preprocessing, SCORING,
        {"bolt": calibration, "nut": calibration}, training={}, metrics={},
        baselines=parts.baselines,
    )  # fmt: skip
    settings = Settings(
        versions=VersionSettings(weights_dir=tmp_path / "weights"),
        workers=WorkerSettings(threads_per_worker=1, stop_grace_s=2, max_batch_size=4),
    )
    with start_server(settings) as server, server.client() as client:
        eventually(lambda: client.get("/readyz").status_code == 200, "readiness")
        for category, decisions in (("bolt", ["OK", "NG"]), ("nut", ["NG", "OK"])):
            for seed, decision in enumerate(decisions):
                response = client.post(f"/detect?category={category}", content=png(noise(seed)))
                (result,) = response.json()["results"]
                assert result["decision"] == decision
                expected = parts.raw_scores(noise(seed)[None], [category])[0]
                assert result["raw_score"] == pytest.approx(expected, rel=1e-3)


def test_a_worker_counts_its_memories(parts):
    loaded = LoadedCheckpoint(parts)
    memories = sum(baseline.memory.nbytes for baseline in parts.baselines.values())
    assert memories >= 2 * 64 * parts.baselines["nut"].memory.channels * 4
    assert loaded.nbytes == parts.engine.nbytes + memories


def test_images_that_share_a_batch_keep_their_own_memory(parts):
    images = np.stack([noise(0), noise(1), noise(0)])
    names = ["bolt", "nut", "nut"]
    maps = parts.image_maps(images, names, [ImageSize(*SIZE)] * 3)
    for image, category, values in zip(images, names, maps, strict=True):
        (alone,) = parts.image_maps(image[None], [category], [ImageSize(*SIZE)])
        np.testing.assert_allclose(values, alone, atol=1e-3)
