"""How long an inspection takes, from the uint8 tensor to the decision.

The time covers every stage of `Detector.inspect`: encoder, decoder, anomaly map, decision. It does
not cover reading and resizing the image file.

    print(measure(of_checkpoint(checkpoint, "cpu"), batch_size=1, repeats=20).text())
"""

import importlib.metadata
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint
from model.errors import UnknownCategory
from model.images.preprocess import Preprocessing
from model.inference.detector import Detector
from model.inspection import ImageSize
from model.network import MambaAD, NetworkConfig
from model.runtimes.torch import open_checkpoint, torch_detector
from model.scoring.scores import Scoring

WARM_UP = 3
_PACKAGES = ("torch", "numba", "numpy", "timm")
_CPU_INFO = Path("/proc/cpuinfo")
_PART = "part"


@dataclass(frozen=True)
class Subject:
    """A detector to time, one of its categories, and a label for the result."""

    label: str
    detector: Detector
    category: str
    network: NetworkConfig
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Latencies of a batch, their medians by stage, and the machine they were measured on."""

    label: str
    network: dict[str, Any]
    device: str
    device_name: str
    threads: int
    versions: dict[str, str]
    batch_size: int
    repeats: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    images_per_second: float
    stages_p50_ms: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def text(self) -> str:
        """Return the result as readable text."""
        stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in self.stages_p50_ms.items())
        versions = ", ".join(f"{package} {version}" for package, version in self.versions.items())
        return (
            f"{self.label}: batch {self.batch_size}, {self.repeats} repeats\n"
            f"  p50 {self.p50_ms:.1f} ms   p95 {self.p95_ms:.1f} ms   p99 {self.p99_ms:.1f} ms   "
            f"{self.images_per_second:.2f} images/s\n"
            f"  by stage, p50 in ms: {stages}\n"
            f"  {self.device} ({self.device_name}), {self.threads} threads\n"
            f"  {versions}"
        )


def of_checkpoint(checkpoint: Checkpoint, device: str) -> Subject:
    """Return a checkpoint to time. Raises `UnknownCategory` if it is not calibrated."""
    categories = checkpoint.manifest.categories
    if not categories:
        raise UnknownCategory(f"{checkpoint.name!r} is not calibrated; run `mambaad calibrate`")
    detector = open_checkpoint(checkpoint, device=device)
    label = f"{checkpoint.name} {checkpoint.version}"
    return Subject(label, detector, categories[0], checkpoint.config, device)


def of_paper(device: str) -> Subject:
    """Return the paper's configuration to time, with random weights (the time does not change)."""
    config = NetworkConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = MambaAD(config).eval()
    encoder = network.encoder
    preprocessing = Preprocessing(image_size=config.image_size, mean=encoder.mean, std=encoder.std)
    normal = Calibration(
        image_threshold=1.0,
        pixel_threshold=1.0,
        image_scale=1.0,
        pixel_scale=1.0,
        alpha=0.01,
        good_images=1,
    )
    detector = torch_detector(network, preprocessing, Scoring(), {_PART: normal}, device)
    return Subject("paper (random weights)", detector, _PART, config, device)


def measure(subject: Subject, batch_size: int, repeats: int) -> Timing:
    """Time `repeats` inspections of a batch of random images, after preparation and warm-up."""
    for step in subject.detector.preparation(batch_size):
        step()
    height, width = subject.detector.preprocessing.image_size
    shape = (batch_size, 3, height, width)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    categories = [subject.category] * batch_size
    sizes = [ImageSize(height, width)] * batch_size
    latencies: list[float] = []
    stages: list[dict[str, float]] = []
    for number in range(WARM_UP + repeats):
        started = time.perf_counter()
        inspections = subject.detector.inspect(images, categories, sizes)
        if number >= WARM_UP:
            latencies.append(1000 * (time.perf_counter() - started))
            stages.append(dict(inspections[0].timings_ms))
    p50, p95, p99 = (float(ms) for ms in np.percentile(latencies, (50, 95, 99)))
    return Timing(
        label=subject.label,
        network=subject.network.to_dict(),
        device=subject.device,
        device_name=device_name(subject.device),
        threads=torch.get_num_threads(),
        versions=versions(),
        batch_size=batch_size,
        repeats=repeats,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        images_per_second=1000 * batch_size * repeats / sum(latencies),
        stages_p50_ms={s: float(np.median([stage[s] for stage in stages])) for s in stages[0]},
    )


def device_name(device: str) -> str:
    """Return the model name of the processor or GPU, or the architecture if it is unknown."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions that a timing depends on."""
    packages = {package: importlib.metadata.version(package) for package in _PACKAGES}
    return {"python": platform.python_version()} | packages
