"""Pictures embedded in the page: an image, its heatmap and its mask."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from model.dataset import Sample, marked_pixels
from model.errors import DatasetError
from model.evaluation import ImageRecord
from model.images.decoding import open_image
from model.inference.detector import Detector
from model.inspection import Inspection
from model.scoring.rendering import overlay, scale_scores

SIDE = 224
"""The longer side of a picture, in pixels; enough for print."""

_JPEG_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of the page: a data URI and the alternative text."""

    uri: str
    alt: str


@dataclass(frozen=True, slots=True)
class Case:
    """An inspected image on the page: its pictures and the caption's content."""

    name: str
    truth: str
    decision: str
    score: float
    note: str
    pictures: tuple[Picture, ...]


def cases(detector: Detector, records: Sequence[ImageRecord]) -> Iterator[Case]:
    """Inspect the records' images again, and yield each with its heatmap and mask."""
    for record in records:
        sample = record.sample
        seen = heatmap(detector, sample, inspect_again(detector, sample), "its heatmap")
        shown = (photograph(detector, sample), seen, mask(sample))
        yield Case(
            name=sample.path.name,
            truth=sample.defect,
            decision=str(record.decision),
            score=record.score,
            note="" if record.aupimo is None else f"AUPIMO {100 * record.aupimo:.0f} %",
            pictures=tuple(picture for picture in shown if picture is not None),
        )


def inspect_again(detector: Detector, sample: Sample) -> Inspection:
    """Return the inspection of one image, at the image's size."""
    return detector.inspect_images([open_image(sample.path)], sample.category)[0]


def heatmap(detector: Detector, sample: Sample, inspection: Inspection, alt: str) -> Picture:
    """Return the image with its heatmap and regions on top."""
    image = detector.preprocessing.upright(open_image(sample.path)).convert("RGB")
    score: Callable[[float], float] = detector.calibrations[sample.category].pixel_score
    scores = scale_scores(inspection.anomaly_map.values, score)
    return _picture(overlay(image, scores, inspection.regions), alt)


def photograph(detector: Detector, sample: Sample) -> Picture:
    """Return the image in the colours that the network sees."""
    image = detector.preprocessing.upright(open_image(sample.path)).convert("RGB")
    return _picture(image, f"{sample.path.name}, {sample.defect}")


def mask(sample: Sample) -> Picture | None:
    """Return the mask, white on black, or None without a usable one."""
    if sample.is_good or sample.mask is None:
        return None
    try:
        marked = marked_pixels(sample)
    except DatasetError:
        return None
    image = Image.fromarray(np.where(marked, np.uint8(255), np.uint8(0)))
    return _picture(image, f"mask of {sample.path.name}", "PNG")


def _picture(image: Image.Image, alt: str, kind: str = "JPEG") -> Picture:
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    written = BytesIO()
    if kind == "JPEG":
        small.save(written, kind, quality=_JPEG_QUALITY, optimize=True)
    else:
        small.save(written, kind, optimize=True)
    data = base64.b64encode(written.getvalue()).decode("ascii")
    return Picture(f"data:image/{kind.lower()};base64,{data}", alt)
