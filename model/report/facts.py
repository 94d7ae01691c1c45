"""What a report is about: the images, the checkpoint, the versions, the command."""

import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from model.calibration.calibration import Calibration
from model.checkpoints.manifest import Manifest
from model.dataset import Sample
from model.images.decoding import opened_file
from model.inspection import Category

_PACKAGES = ("mambaad-service", "torch", "timm", "numpy", "scipy", "pillow")
_PROMISES = (20, 50, 100, 200, 500, 1000, 2000)

Facts = list[tuple[str, str]]
"""What is known, line by line: a name and its value."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What so many held-out good images can promise at a category's alpha."""

    images: int
    rate: float
    bound: float
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of test image: how many, and how many of them have a mask."""

    category: Category
    defect: str
    images: int
    masked: int


def promises(calibration: Calibration) -> list[Promise]:
    """Say what other numbers of held-out images would promise, and what ours do.

    Nothing where none were held out: there is nothing to set beside them.
    """
    if calibration.folds is not None:
        return []
    ours = calibration.good_images
    found = []
    for images in sorted({*_PROMISES, ours}):
        other = replace(calibration, good_images=images)
        found.append(Promise(images, other.guaranteed_rate, other.rate_bound(), images == ours))
    return found


def kinds(samples: Iterable[Sample]) -> list[Kind]:
    """Count the test images by category and kind of defect, the good ones first."""
    known = list(samples)
    counts = Counter((s.category, not s.is_good, s.defect) for s in known)
    masked = Counter((s.category, not s.is_good, s.defect) for s in known if s.mask is not None)
    return [Kind(key[0], key[2], counts[key], masked[key]) for key in sorted(counts)]


def image_facts(samples: Sequence[Sample]) -> Facts:
    """Say what sizes and modes the images have, from their headers."""
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    for sample in samples:
        with opened_file(sample.path) as found:
            sizes[found.upright_size] += 1
            modes[f"{found.header.kind} {found.image.mode}"] += 1
    shown = [f"{w} x {h} ({count})" for (w, h), count in sizes.most_common(5)]
    more = f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
    return [
        ("Sizes in pixels", ", ".join(shown) + more),
        ("Formats", ", ".join(f"{mode} ({count})" for mode, count in modes.most_common())),
    ]


def checkpoint_facts(manifest: Manifest) -> Facts:
    """Say which checkpoint it was, down to the hashes of its files."""
    network, scoring = manifest.network, manifest.scoring
    size = " x ".join(str(side) for side in manifest.preprocessing["image_size"])
    images = manifest.training.get("images", {})
    learned = [f"{c}: {text}" for c, text in images.get("train", {}).items()]
    held_out = [f"{c}: {text}" for c, text in images.get("held_out", {}).items()]
    return [
        ("Checkpoint", f"{manifest.name}, version {manifest.version}, of {manifest.created}"),
        ("Network", f"{network.get('encoder')} encoder, {size} px, {_settings(network)}"),
        ("Image score", _settings(scoring)),
        *([("Trained on", "; ".join(learned))] if learned else []),
        *([("Calibrated on", "; ".join(held_out))] if held_out else []),
        *((f"sha256 of {file}", digest) for file, digest in manifest.sha256.items()),
        *([("License", manifest.license)] if manifest.license else []),
        *([("Notice", manifest.notice)] if manifest.notice else []),
    ]


def run_facts(data: Path, device: str) -> Facts:
    """Say how this report was made."""
    versions = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    command = " ".join(["mambaad", *(shlex.quote(word) for word in sys.argv[1:])])
    return [
        ("Made", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Command", command),
        ("Data", str(data)),
        ("Device", device),
        ("Versions", ", ".join(versions)),
    ]


def training_curve(training: Mapping[str, Any]) -> dict[str, list[float | None]] | None:
    """Return the columns of a checkpoint's training curve, None where it keeps none."""
    curve = training.get("curve")
    if not isinstance(curve, Mapping) or len(curve.get("epoch", ())) < 2:
        return None
    return {name: list(values) for name, values in curve.items()}


def _settings(values: Mapping[str, Any]) -> str:
    left_out = {"encoder", "image_size"}
    return ", ".join(f"{k} {_plain(v)}" for k, v in values.items() if k not in left_out)


def _plain(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
