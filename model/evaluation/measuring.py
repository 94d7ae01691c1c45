"""Compute one category's metrics and intervals from its samples and their maps."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from model.dataset import Sample, marked_pixels, resize_mask
from model.evaluation.results import (
    PIMO_RECALL,
    PIXEL_METRICS,
    CategoryMetrics,
    DefectMetrics,
    ImageRecord,
)
from model.images.framing import resampled
from model.inspection import Decision, Inspection
from model.metrics import MapSpill, PixelMetrics, Ranking, measure, wilson
from model.metrics.resampling import (
    Replicates,
    image_replicates,
    interval,
    pixel_replicates,
)
from model.rivals.scores import score_maps

Advance = Callable[[], None]
_DEFECT_PIXEL_METRICS = ("pixel_auroc", "aupro", "aupro_5", "aupimo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One category's images, metrics and resamplings."""

    metrics: CategoryMetrics
    records: tuple[ImageRecord, ...]
    replicates: Replicates


def measure_part(
    samples: Sequence[Sample],
    inspections: Iterator[Inspection],
    size: tuple[int, int],
    resamplings: int,
    advance: Advance,
) -> Part:
    """Measure the inspections of these samples, given in the same order."""
    records = []
    masked = with_pixel_truth(samples)
    wanted = set(masked)
    with MapSpill() as spill:
        for index, inspection in enumerate(inspections):
            records.append(_record(samples[index], inspection))
            if index in wanted:
                marked, area = _truth(samples[index], size)
                spill.add(resampled(inspection.anomaly_map.values, size), marked)
                records[index] = replace(records[index], area=area)
            advance()
        pixels = measure(spill)
        seed = seed_of(samples)
        replicates = _image_replicates(records, resamplings, seed)
        if pixels is not None:
            records = with_image_recalls(records, masked, pixels)
            replicates |= pixel_replicates(spill, pixels, resamplings, seed)
        defects = _defects(records, masked, spill)
    metrics = _metrics(records, masked, pixels, replicates, defects)
    return Part(metrics=metrics, records=tuple(records), replicates=replicates)


def seed_of(samples: Sequence[Sample]) -> int:
    """Return the seed of a category's resamplings, equal for all checkpoints and methods."""
    return zlib.crc32(samples[0].category.encode())


def with_pixel_truth(samples: Sequence[Sample]) -> list[int]:
    """Return the indices of good and masked samples for pixel metrics; empty without masks."""
    if not any(sample.mask for sample in samples):
        return []
    return [n for n, sample in enumerate(samples) if sample.is_good or sample.mask]


def _truth(sample: Sample, size: tuple[int, int]) -> tuple[Bool[np.ndarray, "H W"], float | None]:
    """Return the mask at the map's size, and the share of the image that it marks."""
    if sample.is_good:
        return np.zeros(size, dtype=bool), None
    marked = marked_pixels(sample)
    return resize_mask(marked, size), float(np.mean(marked))


def _record(sample: Sample, inspection: Inspection) -> ImageRecord:
    scores = score_maps(inspection.anomaly_map.values[None])
    return ImageRecord(
        sample=sample,
        raw_score=inspection.raw_score,
        score=inspection.score,
        threshold=inspection.threshold,
        decision=inspection.decision,
        map_scores={name: float(values[0]) for name, values in scores.items()},
        map_median=float(np.median(inspection.anomaly_map.values)),
    )


def with_image_recalls(
    records: Sequence[ImageRecord], masked: Sequence[int], pixels: PixelMetrics
) -> list[ImageRecord]:
    """Return the records, with AUPIMO and recall for each masked defect."""
    updated = list(records)
    for slot, index in enumerate(masked):
        if np.isfinite(pixels.image_aupimo[slot]):
            updated[index] = replace(
                updated[index],
                aupimo=float(pixels.image_aupimo[slot]),
                recall=float(pixels.image_recall[slot]),
            )
    return updated


def _metrics(
    records: Sequence[ImageRecord],
    masked: Sequence[int],
    pixels: PixelMetrics | None,
    replicates: Replicates,
    defects: dict[str, DefectMetrics],
) -> CategoryMetrics:
    defective, scores, rejected = columns(records)
    passed = np.array([record.is_escape for record in records])
    ranks = image_metrics(defective, scores)
    intervals = {name: interval(values) for name, values in replicates.items()}
    rates = {"false_reject_rate": rejected[~defective], "escape_rate": passed[defective]}
    intervals |= {
        name: wilson(int(np.sum(flags)), len(flags)) for name, flags in rates.items() if flags.size
    }
    return CategoryMetrics(
        good=int(np.sum(~defective)),
        defective=int(np.sum(defective)),
        masked=sum(not records[index].sample.is_good for index in masked),
        **ranks,
        **pixel_metrics(pixels),
        false_reject_rate=_share(rates["false_reject_rate"]),
        escape_rate=_share(rates["escape_rate"]),
        intervals=intervals,
        defects=defects,
    )


def image_metrics(
    defective: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]
) -> dict[str, float | None]:
    """Return the image metrics of labels and scores; None if there is only one label."""
    if not defective.any() or defective.all():
        return dict.fromkeys(("image_auroc", "image_ap", "image_f1_max"))
    ranks = Ranking(defective, scores).ranks()
    return {
        "image_auroc": float(ranks.auroc[0]),
        "image_ap": float(ranks.average_precision[0]),
        "image_f1_max": float(ranks.f1_max[0]),
    }


def pixel_metrics(pixels: PixelMetrics | None) -> dict[str, float | None]:
    """Return the pixel metrics by name, all None without pixels."""
    return dict.fromkeys((*PIXEL_METRICS, PIMO_RECALL)) if pixels is None else pixels.named()


def columns(records: Sequence[ImageRecord]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return three arrays: is defective, raw score, is decided NG."""
    defective = np.array([not record.sample.is_good for record in records])
    scores = np.array([record.raw_score for record in records])
    return defective, scores, np.array([record.decision is Decision.NG for record in records])


def _image_replicates(
    records: Sequence[ImageRecord], resamplings: int, seed: int
) -> dict[str, Float[np.ndarray, " R"]]:
    defective, scores, rejected = columns(records)
    passed = np.array([record.is_escape for record in records])
    return image_replicates(defective, scores, rejected, passed, resamplings, seed)


def _defects(
    records: Sequence[ImageRecord], masked: Sequence[int], spill: MapSpill
) -> dict[str, DefectMetrics]:
    good = [n for n, record in enumerate(records) if record.sample.is_good]
    slots = {index: slot for slot, index in enumerate(masked)}
    metrics = {}
    for defect in sorted({r.sample.defect for r in records if not r.sample.is_good}):
        indices = [n for n, record in enumerate(records) if record.sample.defect == defect]
        marked = [slots[n] for n in indices if n in slots]
        pixels = measure(spill, sorted([slots[n] for n in good if n in slots] + marked))
        defective, scores, _ = columns([records[n] for n in good + indices])
        ranks, values = image_metrics(defective, scores), pixel_metrics(pixels)
        metrics[defect] = DefectMetrics(
            images=len(indices),
            masked=len(marked),
            image_auroc=ranks["image_auroc"],
            image_ap=ranks["image_ap"],
            escape_rate=_share(np.array([records[n].is_escape for n in indices])),
            **{name: values[name] for name in _DEFECT_PIXEL_METRICS},
        )
    return metrics


def _share(flags: Bool[np.ndarray, " n"]) -> float | None:
    return float(np.mean(flags)) if flags.size else None
