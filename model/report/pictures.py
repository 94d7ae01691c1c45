"""Pictures embedded in the page: an image, its heatmap, the truth, and what was nearly found."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from markupsafe import Markup
from PIL import Image
from scipy import ndimage

from model.dataset import Sample, marked_pixels, resize_mask
from model.errors import DatasetError
from model.evaluation import ImageRecord
from model.evaluation.score_files import relative_name
from model.images.decoding import open_image
from model.inference.detector import Detector
from model.inspection import Inspection
from model.scoring.rendering import colours, overlay, scale_scores
from model.scoring.rendering import heatmap as grey_map

SIDE = 224
"""The longer side of a picture, in pixels; enough for print."""

WIDE_SIDE = 512
"""The longer side of a picture that is shown in a row of its own."""

_WIDE = 2.0
_SHOWN_HEIGHT, _SHOWN_WIDTH = 150, 420
_JPEG_QUALITY = 82
_SWATCHES, _SWATCH_PX = 48, 6


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of the page: a data URI, the alternative text, and its size on the page."""

    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Case:
    """An inspected image on the page: its pictures and the caption's content.

    The pictures of a wide image are below each other.
    """

    name: str
    truth: str
    decision: str
    score: float
    note: str
    pictures: tuple[Picture, ...]
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Nearness:
    """A scale of map values from the median good pixel to the threshold.

    Without good images, `low` is None and each map's own median is used.
    """

    low: float | None
    high: float

    def text(self) -> str:
        """Say which values the colours stand for."""
        if self.low is None:
            begin = "the median pixel of the same image (no good test images)"
        else:
            begin = f"the median pixel of the good test images ({self.low:.3g})"
        return f"black is {begin}, pale yellow the threshold of a pixel ({self.high:.3g}) or more"

    def share(self, value: float, low: float) -> float:
        """Return how far a value is on the way from `low` to the threshold; 0 below."""
        return max(0.0, (value - low) / (self.high - low)) if self.high > low else float("inf")

    def from_values(self, values: np.ndarray) -> float:
        """Return the start of the scale for a map."""
        return float(np.median(values)) if self.low is None else self.low


def cases(
    detector: Detector,
    records: Sequence[ImageRecord],
    data: Path,
    nearness: Nearness | None = None,
) -> Iterator[Case]:
    """Inspect the records' images again, and yield each with its pictures.

    With a `nearness` these are the image, the truth's contour, and the map on that scale; without
    one the image, its heatmap and its mask. Names are relative to the folder `data`.
    """
    for record in records:
        sample = record.sample
        inspection = inspect_again(detector, sample)
        shown: tuple[Picture | None, ...]
        notes = [] if record.aupimo is None else [f"AUPIMO {100 * record.aupimo:.0f} %"]
        if nearness is None:
            seen = heatmap(detector, sample, inspection, "its heatmap")
            shown = (photograph(detector, sample), seen, mask(sample))
        else:
            values = inspection.anomaly_map.values
            share = nearness.share(float(values.max()), nearness.from_values(values))
            notes.append(f"highest pixel at {100 * share:.0f} % of the scale")
            seen = near_map(sample, inspection, nearness)
            shown = (photograph(detector, sample), truth(detector, sample), seen)
        pictures = tuple(picture for picture in shown if picture is not None)
        yield Case(
            name=relative_name(sample.path, data),
            truth=sample.defect,
            decision=str(record.decision),
            score=record.score,
            note=", ".join(notes),
            pictures=pictures,
            is_wide=pictures[0].width >= _WIDE * pictures[0].height,
        )


def inspect_again(detector: Detector, sample: Sample) -> Inspection:
    """Return the inspection of one image, at the image's size."""
    return detector.inspect_images([open_image(sample.path)], sample.category)[0]


def heatmap(detector: Detector, sample: Sample, inspection: Inspection, alt: str) -> Picture:
    """Return the image with its heatmap and regions on top."""
    image = _upright(detector, sample)
    score: Callable[[float], float] = detector.calibrations[sample.category].pixel_score
    scores = scale_scores(inspection.anomaly_map.values, score)
    return _picture(overlay(image, scores, inspection.regions), alt)


def near_map(sample: Sample, inspection: Inspection, nearness: Nearness) -> Picture:
    """Return the map alone, on the scale from the median good pixel to the threshold."""
    values = inspection.anomaly_map.values.astype(np.float64)
    low = nearness.from_values(values)
    span = nearness.high - low
    shares = (values - low) / span if span > 0 else (values > low).astype(np.float64)
    size = inspection.anomaly_map.image_size
    fitted = _fitted((size.width, size.height))
    alt = f"map of {sample.path.name}, from the median good pixel to the threshold"
    return _picture(colours(grey_map(shares, fitted)), alt)


def photograph(detector: Detector, sample: Sample) -> Picture:
    """Return the image in the colours that the network sees."""
    return _picture(_upright(detector, sample), f"{sample.path.name}, {sample.defect}")


def truth(detector: Detector, sample: Sample) -> Picture | None:
    """Return the image with the contour of its mask, or None without a usable one."""
    marked = _marked(sample)
    if marked is None:
        return None
    image = _upright(detector, sample)
    image.thumbnail(_fitted(image.size), Image.Resampling.LANCZOS)
    inside = resize_mask(marked, (image.height, image.width))
    ring = ndimage.binary_dilation(inside, iterations=2) & ~inside
    edge = ndimage.binary_dilation(inside, iterations=3) & ~inside & ~ring
    pixels = np.array(image)
    # A white line with a dark edge is visible on any part, also without colour.
    pixels[edge], pixels[ring] = (0, 0, 0), (255, 255, 255)
    alt = f"{sample.path.name} with the contour of the marked defect"
    return _picture(Image.fromarray(pixels), alt)


def mask(sample: Sample) -> Picture | None:
    """Return the mask, white on black, or None without a usable one."""
    marked = _marked(sample)
    if marked is None:
        return None
    image = Image.fromarray(np.where(marked, np.uint8(255), np.uint8(0)))
    return _picture(image, f"mask of {sample.path.name}", sharp=True)


def colour_scale() -> Markup:
    """Draw the colours of `near_map` with their ends named."""
    ramp = Image.fromarray(np.linspace(0, 255, _SWATCHES).round().astype(np.uint8)[None])
    shades = np.asarray(colours(ramp))[0]
    boxes = "".join(
        f'<rect x="{_SWATCH_PX * place}" y="0" width="{_SWATCH_PX + 0.2}" height="12" '
        f'fill="rgb({red},{green},{blue})"/>'
        for place, (red, green, blue) in enumerate(shades.tolist())
    )
    title = "Colours from the median good pixel, black, to the threshold, pale yellow"
    width = _SWATCHES * _SWATCH_PX
    return Markup(  # nothing in it comes from outside
        f'<svg class="scale" viewBox="0 0 {width + 2} 28" role="img" aria-label="{title}">'
        f"<title>{title}</title>{boxes}"
        f'<rect x="0.5" y="0.5" width="{width}" height="12" fill="none" stroke="#111"/>'
        f'<text x="0" y="25">median good pixel</text>'
        f'<text x="{width}" y="25" class="end">threshold</text></svg>'
    )


def _marked(sample: Sample) -> Bool[np.ndarray, "H W"] | None:
    if sample.is_good or sample.mask is None:
        return None
    try:
        return marked_pixels(sample)
    except DatasetError:
        return None


def _upright(detector: Detector, sample: Sample) -> Image.Image:
    return detector.preprocessing.upright(open_image(sample.path)).convert("RGB")


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a picture in the page's file; it keeps the image's aspect ratio."""
    side = WIDE_SIDE if size[0] >= _WIDE * size[1] else SIDE
    scale = min(1.0, side / max(size))
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def _picture(image: Image.Image, alt: str, *, sharp: bool = False) -> Picture:
    """Return a picture; a `sharp` one has few colours, and is not blurred by JPEG."""
    small = image.copy()
    small.thumbnail(_fitted(image.size), Image.Resampling.LANCZOS)
    written = BytesIO()
    kind = "PNG" if sharp else "JPEG"
    if sharp:
        small.save(written, kind, optimize=True)
    else:
        small.save(written, kind, quality=_JPEG_QUALITY, optimize=True)
    data = base64.b64encode(written.getvalue()).decode("ascii")
    ratio = small.width / small.height
    height = min(_SHOWN_HEIGHT, _SHOWN_WIDTH / ratio)
    size = (max(1, round(height * ratio)), max(1, round(height)))
    return Picture(f"data:image/{kind.lower()};base64,{data}", alt, *size)
