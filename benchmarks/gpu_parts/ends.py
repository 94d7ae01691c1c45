"""Times inspections from uint8 images to decisions, with our engine and with the published flow."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_parts.yardsticks import Scan, scanning_by
from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint
from model.engines.cuda.engine import CudaEngine, CudaShare
from model.engines.torch.engine import TorchEngine
from model.images.preprocess import Preprocessing
from model.inference.detector import Detector
from model.inspection import ImageSize
from model.network import MambaAD, NetworkConfig
from model.runtimes.torch import open_checkpoint
from model.scoring.scores import Scoring

PAPER = NetworkConfig()
TINY = NetworkConfig(
    encoder="tf_efficientnet_lite0", image_size=(32, 32), scan="sweep", directions=2,
    depths=(2, 2, 2, 2), state_size=2,
)  # fmt: skip
"""For a dry run."""

_WARM_UP = 3
_PART = "part"


@dataclass(frozen=True)
class Subject:
    """A network to time; `build` returns its detector on a shared device, or with plain torch."""

    label: str
    build: Callable[[CudaShare | None, str], Detector]


def paper(config: NetworkConfig) -> Subject:
    """Return a configuration with random weights, which do not affect the time."""

    def build(share: CudaShare | None, device: str) -> Detector:
        torch.manual_seed(0)
        network = MambaAD(config).eval()
        size, mean, std = config.image_size, network.encoder.mean, network.encoder.std
        preprocessing = Preprocessing(image_size=size, mean=mean, std=std)
        parts = (network, preprocessing, Scoring())
        engine = share.engine(*parts) if share else TorchEngine(*parts, device)
        return Detector(engine, preprocessing, Scoring(), {_PART: _calibration()})

    return Subject("paper configuration, random weights", build)


def checkpoint(load: Callable[[], Checkpoint]) -> Subject:
    """Return a stored checkpoint; each detector gets a copy of the weights."""

    def build(share: CudaShare | None, device: str) -> Detector:
        return open_checkpoint(load(), device, cuda=share)

    manifest = load().manifest
    return Subject(f"checkpoint {manifest.name} {manifest.version}", build)


def compare_ends(
    subject: Subject,
    batch_sizes: tuple[int, ...],
    yardsticks: dict[str, Scan],
    share: CudaShare,
    repeats: int,
) -> dict[str, Any]:
    """Return the times of our and the published way at each batch size, and our plan's trials."""
    detector = subject.build(share, "")
    started = time.perf_counter()
    for step in detector.preparation(max(batch_sizes)):
        step()
    engine = detector.engine
    assert isinstance(engine, CudaEngine)
    result = {
        "subject": subject.label,
        "plan": str(engine.plan),
        "graphs": engine.captured,
        "preparation_s": time.perf_counter() - started,
        "trials": [
            {"plan": str(t.plan), "ms": 1e3 * t.seconds, "share_of_tolerance": t.share}
            for t in engine.trials
        ],
        "ours": [_measure(detector, b, repeats) for b in batch_sizes],
    }
    plain = subject.build(None, engine.device)
    result["difference_of_scores"] = _difference(detector, plain)
    result["published"] = dict(_published(plain, batch_sizes, yardsticks, repeats))
    return result


def _published(
    plain: Detector, batch_sizes: tuple[int, ...], yardsticks: dict[str, Scan], repeats: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for name, scan in yardsticks.items():
        with scanning_by(scan):
            yield name, [_measure(plain, b, -(-repeats // 10)) for b in batch_sizes]


def _measure(detector: Detector, b: int, repeats: int) -> dict[str, Any]:
    """Time inspections of random images; `engine_*` are from pixels to maps only."""
    _forget_peak(detector)
    images, categories = _images(detector, b), [detector.categories[0]] * b
    sizes = [ImageSize(*detector.preprocessing.image_size)] * b
    total, engine = [], []
    warm_up = min(_WARM_UP, repeats)
    for number in range(warm_up + repeats):
        started = time.perf_counter()
        inspections = detector.inspect(images, categories, sizes)
        if number >= warm_up:
            total.append(1e3 * (time.perf_counter() - started))
            engine.append(sum(ms for k, ms in inspections[0].timings_ms.items() if k != "decision"))
    p50, p99 = (float(ms) for ms in np.percentile(total, (50, 99)))
    return {
        "batch_size": b,
        "repeats": repeats,
        "p50_ms": p50,
        "p99_ms": p99,
        "images_per_second": 1e3 * b * repeats / sum(total),
        "engine_p50_ms": float(np.median(engine)),
        "engine_images_per_second": 1e3 * b * repeats / sum(engine),
        "peak_bytes": _peak(detector),
    }


def _difference(detector: Detector, plain: Detector) -> float:
    images = _images(detector, 4)
    pair = [d.scoring.raw_scores(d.anomaly_maps(images)) for d in (detector, plain)]
    return float(np.abs(pair[0] - pair[1]).max())


def _images(detector: Detector, b: int) -> np.ndarray:
    shape = (b, 3, *detector.preprocessing.image_size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _forget_peak(detector: Detector) -> None:
    if detector.engine.device != "cpu":
        torch.cuda.reset_peak_memory_stats(detector.engine.device)


def _peak(detector: Detector) -> int | None:
    """Return torch's peak memory on the device, including graphs."""
    if detector.engine.device == "cpu":
        return None
    return torch.cuda.max_memory_reserved(detector.engine.device)


def _calibration() -> Calibration:
    """Return thresholds above all scores."""
    return Calibration(
        image_threshold=3.0, pixel_threshold=3.0, image_scale=1.0, pixel_scale=1.0, alpha=0.01,
        good_images=1,
    )  # fmt: skip
