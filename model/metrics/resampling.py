"""Bootstrap: how far a metric would move with other images of the same kind.

Images are drawn with replacement, good and defective ones apart (stratified: the mix of a test set
is chosen, not random). Pixels of one image are not independent, so pixel metrics are resampled by
image too. The same images and seed give the same resamplings, so that two networks can be compared
pair by pair.

For pixel metrics, counts in some hundreds of bins replace the values of an image. The bins' edges
are quantiles, dense where false-positive rates are low. Each resampling is corrected by the error
that binning makes in the metric of the original images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt32

from model.metrics.pixels import FPR_LIMITS, PIMO_BOUNDS, PixelMetrics
from model.metrics.ranking import Ranking
from model.metrics.spill import MapSpill

LEVEL = 0.95
RESAMPLINGS = 1000

_RANKS = 96
_LOW_RATES = np.geomspace(1e-6, 1, 320)
_ALL_RATES = np.linspace(0, 1, 160)
_BLOCK = 100

Replicates = Mapping[str, Float[np.ndarray, " R"]]
"""The values of each metric, one for each resampling."""


def draw(defective: Bool[np.ndarray, " n"], resamplings: int, seed: int) -> Int[np.ndarray, "R n"]:
    """Return how often each image is drawn in each resampling."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamplings, len(defective)), dtype=np.int32)
    for kind in (~defective, defective):
        count = int(np.sum(kind))
        if count:
            weights[:, kind] = rng.multinomial(count, np.full(count, 1 / count), resamplings)
    return weights


def image_replicates(
    defective: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    rejected: Bool[np.ndarray, " n"],
    passed: Bool[np.ndarray, " n"],
    resamplings: int = RESAMPLINGS,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, " R"]]:
    """Return the replicates of the image metrics and rates that exist for these images."""
    weights = draw(defective, resamplings, seed)
    replicates: dict[str, np.ndarray] = {}
    if defective.any() and not defective.all():
        ranks = Ranking(defective, scores).ranks(weights)
        replicates["image_auroc"] = ranks.auroc
        replicates["image_ap"] = ranks.average_precision
        replicates["image_f1_max"] = ranks.f1_max
    for name, kind, wrong in (
        ("false_reject_rate", ~defective, rejected),
        ("escape_rate", defective, passed),
    ):
        if kind.any():
            replicates[name] = weights[:, kind] @ wrong[kind] / np.sum(kind)
    return replicates


def interval(replicates: Float[np.ndarray, " R"], level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of this level."""
    low, high = np.quantile(replicates, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def pixel_replicates(
    spill: MapSpill, exact: PixelMetrics, resamplings: int = RESAMPLINGS, seed: int = 0
) -> dict[str, Float[np.ndarray, " R"]]:
    """Return the replicates of the pixel metrics; `exact` are those of the original maps."""
    binned = _bin(spill, _edges(spill))
    weights = draw(binned.defective, resamplings, seed)
    plain = _curves(binned, np.ones((1, len(spill)), dtype=np.int32))
    blocks = [_curves(binned, weights[i : i + _BLOCK]) for i in range(0, resamplings, _BLOCK)]
    return {
        name: np.clip(np.concatenate([b[name] for b in blocks]) + (value - plain[name]), 0, 1)
        for name, value in exact.named().items()
        if value is not None
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Binned:
    """Each image's pixels by bin, from the highest down.

    `regions` counts them; `overlaps` are shares of each region's pixels, `shares` of all marked
    pixels of the image.
    """

    defective: Bool[np.ndarray, " n"]
    unmarked: Float32[np.ndarray, "n bins"]
    marked: Float32[np.ndarray, "n bins"]
    overlaps: Float32[np.ndarray, "n bins"]
    shares: Float32[np.ndarray, "n bins"]
    regions: Int[np.ndarray, " n"]


def _edges(spill: MapSpill) -> UInt32[np.ndarray, " edges"]:
    """Choose ascending keys as bin edges, dense where the metrics depend on them most."""
    images = range(len(spill))
    good = [image for image in images if spill.is_good(image)]
    defective = [image for image in images if not spill.is_good(image)]
    unmarked = [_sketch(spill.unmarked.segment(image)) for image in images]
    marked = [_sketch(spill.marked.segment(image)) for image in defective]
    edges = [
        _quantiles(unmarked, np.append(_LOW_RATES, _ALL_RATES)),
        _quantiles(marked, _ALL_RATES),
    ]
    if good:
        edges.append(_quantiles([unmarked[image] for image in good], _LOW_RATES))
    return np.unique(np.concatenate(edges))


def _sketch(keys: UInt32[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """Return keys at geometrically spaced ranks, and how many keys each stands for."""
    if not len(keys):
        return keys, np.zeros(0)
    ranks = np.unique(np.geomspace(1, len(keys), _RANKS).astype(np.int64))
    return keys[len(keys) - ranks], np.diff(ranks, prepend=0)


def _quantiles(
    sketches: Sequence[tuple[np.ndarray, np.ndarray]], rates: Float[np.ndarray, " k"]
) -> UInt32[np.ndarray, " k"]:
    """Return the keys above which these shares of all sketched keys lie."""
    keys = np.concatenate([keys for keys, _ in sketches])
    weights = np.concatenate([weights for _, weights in sketches])
    order = np.argsort(keys)[::-1]
    reached = np.cumsum(weights[order])
    places = np.searchsorted(reached, rates * reached[-1])
    quantiles: np.ndarray = keys[order][np.minimum(places, len(keys) - 1)]
    return quantiles


def _bin(spill: MapSpill, edges: UInt32[np.ndarray, " edges"]) -> _Binned:
    images, bins = len(spill), len(edges) + 1
    unmarked, marked, overlaps, shares = np.zeros((4, images, bins), dtype=np.float32)
    sizes = np.array(spill.region_sizes)
    for image in range(images):
        starts = np.searchsorted(spill.unmarked.segment(image), edges)
        count = spill.unmarked.segments[image].count
        unmarked[image] = np.diff(starts, prepend=0, append=count)[::-1]
        keys, regions = spill.marked.numbered_segment(image)
        if len(keys):
            places = np.searchsorted(edges, keys, side="right")
            counts = np.bincount(places, minlength=bins)[::-1]
            marked[image], shares[image] = counts, counts / len(keys)
            overlaps[image] = np.bincount(places, 1 / sizes[regions], minlength=bins)[::-1]
    regions_of = np.bincount(np.array(spill.region_images, dtype=np.int64), minlength=images)
    return _Binned(regions_of > 0, unmarked, marked, overlaps, shares, regions_of)


def _curves(binned: _Binned, weights: Int[np.ndarray, "R n"]) -> dict[str, np.ndarray]:
    """Return every pixel metric of each resampling, from the bins alone."""
    drawn = weights.astype(np.float32)
    good = drawn * ~binned.defective
    alarms, hits = _rising(drawn @ binned.unmarked), _rising(drawn @ binned.marked)
    rates = alarms / alarms[:, -1:]
    overlap = _rising(drawn @ binned.overlaps) / (weights @ binned.regions)[:, None]
    recall = hits / hits[:, -1:]
    metrics = {
        "pixel_auroc": _area(rates, recall, 1.0),
        "pixel_ap": np.sum(
            np.diff(recall, axis=1) * (hits / np.maximum(hits + alarms, 1))[:, 1:], 1
        ),
        "pixel_f1_max": np.max(2 * hits / (hits + alarms + hits[:, -1:]), axis=1),
    }
    for name, limit in zip(("aupro", "aupro_5"), FPR_LIMITS, strict=True):
        metrics[name] = _area(rates, overlap, limit) / limit
    if not binned.defective.all():
        false = _rising(good @ binned.unmarked)
        seen = _rising(drawn @ binned.shares) / np.sum(weights * binned.defective, 1)[:, None]
        metrics["aupimo"], metrics["pimo_recall"] = _pimo(false / false[:, -1:], seen)
    return metrics


def _rising(counts: Float32[np.ndarray, "R bins"]) -> Float[np.ndarray, "R points"]:
    """Return the counts at or above each edge, from 0 to all."""
    return np.pad(np.cumsum(counts, axis=1, dtype=np.float64), ((0, 0), (1, 0)))


def _area(
    x: Float[np.ndarray, "R points"], y: Float[np.ndarray, "R points"], limit: float
) -> Float[np.ndarray, " R"]:
    """Return the area under each piecewise linear curve, from 0 to `limit`."""
    width = np.diff(x, axis=1)
    clipped = np.clip(limit - x[:, :-1], 0, width)
    share = clipped / np.maximum(width, np.finfo(np.float64).tiny)
    area: np.ndarray = np.sum(clipped * (y[:, :-1] + share * np.diff(y, axis=1) / 2), axis=1)
    return area


def _pimo(
    rates: Float[np.ndarray, "R points"], recall: Float[np.ndarray, "R points"]
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Return AUPIMO and the recall at its upper bound; recall is a step function."""
    low, high = PIMO_BOUNDS
    logs = np.log(np.clip(rates, low, high))
    steps = np.diff(logs, axis=1, append=math.log(high))
    reached = np.sum(rates <= high, axis=1) - 1
    area = np.sum(steps * recall, axis=1) / math.log(high / low)
    return area, recall[np.arange(len(recall)), reached]
