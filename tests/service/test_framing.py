"""For letterboxed, tiled and masked checkpoints the service answers the same as `Detector`.

Covers preparing an encoded image, batches, the shared block, a worker's inspector, and the way
back; all in this process.
"""

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.key import CheckpointKey
from model.images.areas import Area
from model.images.preprocess import Preprocessing
from model.runtimes.runtimes import Runtimes
from model.runtimes.torch import open_checkpoint
from model.scoring.rendering import heatmap, scale_scores
from model.scoring.scores import Scoring
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.pictures import HeatmapKind
from service.inspection.images.preparing import Preparer
from service.inspection.images.sources import Upload
from service.inspection.options import InspectOptions
from service.inspection.pipeline import Pipeline
from service.versions.registry import Registry
from service.workers.child.inspector import Inspector
from service.workers.child.threads import DeviceThread
from service.workers.jobs import Batch
from service.workers.pipe.memory import SharedBlock
from service.workers.pipe.messages import Finding, Load, WorkerPlan

SIZES = [(96, 48), (64, 64), (40, 130), (200, 150)]
LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
CASES = {
    "letterbox": ({"resize": "letterbox"}, None),
    "tile": ({"resize": "tile", "tile_overlap": 0.5}, None),
    "tiled area": ({"resize": "tile", "tile_scale": 0.75}, Area(exclude=(LEFT,))),
}


class InProcess:
    """Workers that compute at once, with an inspector in this process, a batch per `flush`."""

    def __init__(self, inspector, block):
        self.inspector = inspector
        self.block = block
        self.jobs = []

    def admit(self, *_):
        pass

    def submit(self, job):
        self.jobs.append(job)
        if len(self.jobs) == len(SIZES):
            self.flush()

    def flush(self):
        batch = Batch(tuple(self.jobs))
        request = batch.request(1)
        batch.write(request, self.block)
        outcomes = self.inspector.inspect(request).outcomes
        maps = self.block.maps(request.map_shapes, request.map_offsets)
        for job, outcome, scores in zip(batch.jobs, outcomes, maps, strict=True):
            assert isinstance(outcome, Finding)
            job.taken_at = job.queued_at
            job.settle(replace(outcome, pixel_scores=scores.copy()))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=CASES)
def store(request, tmp_path, network, calibration):
    options, area = CASES[request.param]
    net = network()
    rule = Preprocessing(image_size=(64, 64), mean=net.encoder.mean, std=net.encoder.std, **options)
    checkpoint_store = CheckpointStore(tmp_path / "weights")
    checkpoint_store.save(
        "parts", net, rule, Scoring(), {"bolt": calibration(1.045)}, training={}, metrics={},
        areas={"bolt": area} if area else None,
    )  # fmt: skip
    return checkpoint_store


def answers_of(store, metrics, contents):
    block = SharedBlock()
    plan = WorkerPlan("cpu", "cpu", "auto", 1, store.root, "INFO", max_batch_size=2)
    inspector = Inspector(plan, [block], DeviceThread(), Runtimes("cpu", "auto", 1))
    inspector.load(Load(0, CheckpointKey("parts", "1")))
    route = Registry(CheckpointStore(store.root), metrics).find("bolt")
    options = InspectOptions(heatmap=HeatmapKind.MAP)

    async def scenario():
        with ThreadPoolExecutor(1) as threads:
            line = Pipeline(
                InProcess(inspector, block), threads, Preparer(ImageLimits(10**6, 10**6)),
                max_preparing=8, timeout_s=60.0,
            )  # fmt: skip
            sent = (line.inspect(route, Upload(None, content), options) for content in contents)
            return [attempt.result for attempt in await asyncio.gather(*sent)]

    return asyncio.run(scenario())


def test_the_service_answers_what_the_detector_finds(store, metrics, image):
    contents = [image(*size, seed=n) for n, size in enumerate(SIZES)]
    answers = answers_of(store, metrics, contents)
    checkpoint = CheckpointStore(store.root).load("parts")
    detector = open_checkpoint(checkpoint)
    calibration = checkpoint.calibrations["bolt"]
    for content, size, answer in zip(contents, SIZES, answers, strict=True):
        (expected,) = detector.inspect_images([Image.open(BytesIO(content))], "bolt")
        assert answer.finding.decision == expected.decision
        assert answer.finding.raw_score == pytest.approx(expected.raw_score, rel=1e-4)
        assert answer.size == size
        boxes = [region.box for region in answer.finding.regions]
        assert boxes == [region.box for region in expected.regions]
        drawn = Image.open(BytesIO(base64.b64decode(answer.picture)))
        assert drawn.size == size
        scores = scale_scores(expected.anomaly_map.values, calibration.pixel_score)
        difference = np.asarray(drawn).astype(int) - np.asarray(heatmap(scores, size))
        assert np.abs(difference).max() <= 1
    assert {len(answer.finding.regions) for answer in answers} - {
        0,
        1,
    }  # there is something to compare
