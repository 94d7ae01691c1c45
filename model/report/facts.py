"""The facts in a report: images, checkpoint, versions, command."""

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
from model.inference.engine import Engine, name_of
from model.inspection import Category

_PACKAGES = ("mambaad-service", "torch", "timm", "numpy", "scipy", "pillow")
_PROMISES = (20, 50, 100, 200, 500, 1000, 2000)

Facts = list[tuple[str, str]]
"""Pairs of a name and its value, one per line."""


@dataclass(frozen=True, slots=True)
class Promise:
    """The promise of a number of held-out good images at a category's alpha."""

    images: int
    rate: float
    bound: float
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of test image: the number of images and of masks."""

    category: Category
    defect: str
    images: int
    masked: int


def promises(calibration: Calibration) -> list[Promise]:
    """Return the promises of several numbers of held-out images, including the actual one.

    Empty for training in folds, which holds out no images.
    """
    if calibration.folds is not None:
        return []
    actual = calibration.good_images
    rows = []
    for images in sorted({*_PROMISES, actual}):
        other = replace(calibration, good_images=images)
        rows.append(Promise(images, other.guaranteed_rate, other.rate_bound(), images == actual))
    return rows


def kinds(samples: Iterable[Sample]) -> list[Kind]:
    """Count the test images by category and kind of defect, good images first."""
    samples = list(samples)
    counts = Counter((s.category, not s.is_good, s.defect) for s in samples)
    masked = Counter((s.category, not s.is_good, s.defect) for s in samples if s.mask is not None)
    return [Kind(key[0], key[2], counts[key], masked[key]) for key in sorted(counts)]


def image_facts(samples: Sequence[Sample]) -> Facts:
    """Return the images' sizes and modes, from their headers."""
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    for sample in samples:
        with opened_file(sample.path) as opened:
            sizes[opened.upright_size] += 1
            modes[f"{opened.header.kind} {opened.image.mode}"] += 1
    shown = [f"{w} x {h} ({count})" for (w, h), count in sizes.most_common(5)]
    more = f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
    return [
        ("Sizes in pixels", ", ".join(shown) + more),
        ("Formats", ", ".join(f"{mode} ({count})" for mode, count in modes.most_common())),
    ]


def checkpoint_facts(manifest: Manifest) -> Facts:
    """Return the checkpoint's settings, images and file hashes."""
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


def run_facts(data: Path, engine: Engine) -> Facts:
    """Return the report's date, command, data, device, engine and versions."""
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
        ("Device", engine.device),
        ("Engine", name_of(engine)),
        ("Versions", ", ".join(versions)),
    ]


def training_curve(training: Mapping[str, Any]) -> dict[str, list[float | None]] | None:
    """Return the columns of a checkpoint's training curve, or None."""
    curve = training.get("curve")
    if not isinstance(curve, Mapping) or len(curve.get("epoch", ())) < 2:
        return None
    return {name: list(values) for name, values in curve.items()}


def _settings(values: Mapping[str, Any]) -> str:
    left_out = {"encoder", "image_size"}
    return ", ".join(f"{k} {_plain(v)}" for k, v in values.items() if k not in left_out)


def _plain(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
