"""Exact pixel metrics of many maps, computed one range of values at a time.

Each metric is a sum over the marked pixels that depends only on counts: how many unmarked and
marked pixels are higher, and how many tie. Bins of float32 values are therefore counted from the
highest down and never loaded together: a full bin in a table of all its float32 values, sparse bins
by sorting.

AUROC, AP and F1-max equal scikit-learn's. AUPRO joins all distinct values by straight lines, up to
a limit of the false-positive rate over unmarked pixels, and averages over regions. PIMO (Bertoldo
et al. 2024) is each defective image's recall at a false-positive rate over *good images alone*;
AUPIMO averages it over the logarithm of that rate.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt32

from model.metrics.regions import covered_area
from model.metrics.spill import BIN_KEYS, BINS, Column, MapSpill

FPR_LIMITS = (0.3, 0.05)
PIMO_BOUNDS = (1e-5, 1e-4)
"""The range of false-positive rates for AUPIMO; recall by image is taken at the upper one."""

_FEW = 2**20
_PART = 2**16

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class PixelMetrics:
    """The metrics over all pixels, and PIMO's recall by image.

    `aupimo` and `recall` are means over images with a marked pixel, None if no image is good.
    `image_aupimo` and `image_recall` have one value an image, NaN where it is undefined.
    """

    auroc: float
    average_precision: float
    f1_max: float
    aupro: float
    aupro_5: float
    aupimo: float | None
    recall: float | None
    image_aupimo: Float[np.ndarray, " n"]
    image_recall: Float[np.ndarray, " n"]

    def named(self) -> dict[str, float | None]:
        """Return the metrics over all images by their names in evaluations."""
        return {
            "pixel_auroc": self.auroc,
            "pixel_ap": self.average_precision,
            "pixel_f1_max": self.f1_max,
            "aupro": self.aupro,
            "aupro_5": self.aupro_5,
            "aupimo": self.aupimo,
            "pimo_recall": self.recall,
        }


def measure(
    spill: MapSpill,
    images: Sequence[int] | None = None,
    advance: Advance = lambda _pixels: None,
) -> PixelMetrics | None:
    """Return the metrics of all maps, or of `images`; None if all pixels are marked, or none.

    `advance` is called with the number of pixels done since its last call.
    """
    chosen = range(len(spill)) if images is None else images
    good = [image for image in chosen if spill.is_good(image)]
    defective = [image for image in chosen if not spill.is_good(image)]
    sources = (
        _Source(spill.unmarked, good),
        _Source(spill.unmarked, defective),
        _Source(spill.marked, defective),
    )
    totals = [int(source.counts.sum()) for source in sources]
    if not totals[2] or not totals[0] + totals[1]:
        return None
    sums = _Sums(spill, totals)
    higher = np.zeros(3, dtype=np.int64)
    for low, high in _ranges(sources):
        inside = np.array([source.counts[low:high].sum() for source in sources])
        if inside[2]:
            counters = [
                source.count(low, high, int(base))
                for source, base in zip(sources, higher, strict=True)
            ]
            for keys, regions in spill.marked.read_numbered(defective, low, high):
                for part in _parts(len(keys)):
                    sums.add([count(keys[part]) for count in counters], regions[part])
        higher += inside
        advance(int(inside.sum()))
    return sums.metrics(defective)


def _parts(count: int) -> Iterator[slice]:
    """Cut an array into slices whose intermediate results fit the CPU cache."""
    return (slice(start, start + _PART) for start in range(0, count, _PART))


def _ranges(sources: Sequence["_Source"]) -> Iterator[tuple[int, int]]:
    """Yield ranges of bins from the highest down: a full bin alone, emptier ones together."""
    counts = np.sum([source.counts for source in sources], axis=0)
    high, keys = BINS, 0
    for bin_ in range(BINS - 1, -1, -1):
        if keys and keys + counts[bin_] > _FEW:
            yield bin_ + 1, high
            high, keys = bin_ + 1, 0
        keys += int(counts[bin_])
    if keys:
        yield 0, high


Counts = Callable[[UInt32[np.ndarray, " n"]], tuple[np.ndarray, np.ndarray]]
"""Returns, for each key, how many are higher and how many are equal."""


class _Source:
    """The keys of one kind of pixel, from some images."""

    def __init__(self, column: Column, images: Sequence[int]) -> None:
        self._column = column
        self._images = images
        self.counts = column.counts(images)

    def count(self, low: int, high: int, base: int) -> Counts:
        """Count the keys in a range of bins, with `base` keys above the range."""
        inside = int(self.counts[low:high].sum())
        if inside > _FEW:  # only a single bin can hold more
            return self._count_in_table(low, base)
        keys = [np.zeros(0, np.uint32), *self._column.read(self._images, low, high)]
        ordered = np.sort(np.concatenate(keys))

        def counted(keys: UInt32[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
            up_to = np.searchsorted(ordered, keys, side="right")
            return base + inside - up_to, up_to - np.searchsorted(ordered, keys, side="left")

        return counted

    def _count_in_table(self, bin_: int, base: int) -> Counts:
        lowest = np.uint32(bin_ * BIN_KEYS)
        table = np.zeros(BIN_KEYS, dtype=np.int64)
        for keys in self._column.read(self._images, bin_, bin_ + 1):
            table += np.bincount((keys - lowest).astype(np.int64), minlength=BIN_KEYS)
        up_to = np.cumsum(table)
        inside = int(up_to[-1])

        def counted(keys: UInt32[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
            places = keys - lowest
            return base + inside - up_to[places], table[places]

        return counted


class _Sums:
    """Running sums over the marked pixels."""

    def __init__(self, spill: MapSpill, totals: Sequence[int]) -> None:
        self._good, self._beside, self._marked = totals
        self._images = np.array(spill.region_images)
        self._sizes = np.array(spill.region_sizes)
        self._area = self._precision = self._f1 = 0.0
        regions = len(self._sizes)
        self._overlaps = {limit: np.zeros(regions) for limit in FPR_LIMITS}
        self._pimo = np.zeros(regions)
        self._recalled = np.zeros(regions)
        self._maps = len(spill)

    def add(
        self, counts: Sequence[tuple[np.ndarray, np.ndarray]], regions: Int[np.ndarray, " n"]
    ) -> None:
        """Add marked pixels, given the counts above and at each, of the three kinds of pixel."""
        (good, good_ties), (beside, beside_ties), (hits, hit_ties) = counts
        unmarked = self._good + self._beside
        higher, ties = good + beside, good_ties + beside_ties
        self._area += float(np.sum(unmarked - higher - ties / 2))
        alarms, detected = higher + ties, hits + hit_ties
        self._precision += float(np.sum(detected / (detected + alarms)))
        f1 = 2 * detected / (detected + alarms + self._marked)
        self._f1 = max(self._f1, float(np.max(f1)))
        for limit in FPR_LIMITS:
            within = higher < limit * unmarked
            area = covered_area(higher[within] / unmarked, alarms[within] / unmarked, limit)
            self._overlaps[limit] += np.bincount(regions[within], area, minlength=len(self._sizes))
        self._add_pimo(good + good_ties, regions)

    def _add_pimo(self, alarms: Int[np.ndarray, " n"], regions: Int[np.ndarray, " n"]) -> None:
        low, high = PIMO_BOUNDS
        within = alarms <= high * self._good
        rate = np.maximum(alarms[within] / max(self._good, 1), low)
        share = np.log(high / rate) / math.log(high / low)
        self._pimo += np.bincount(regions[within], share, minlength=len(self._pimo))
        self._recalled += np.bincount(regions[within], minlength=len(self._recalled))

    def metrics(self, defective: Sequence[int]) -> PixelMetrics:
        """Return the metrics, once every marked pixel of these images has been added."""
        measured = np.isin(self._images, defective)
        overlaps = [
            float(np.mean(sums[measured] / self._sizes[measured]) / limit)
            for limit, sums in self._overlaps.items()
        ]
        pimo = self._by_image(self._pimo, defective)
        recall = self._by_image(self._recalled, defective)
        return PixelMetrics(
            auroc=self._area / (self._good + self._beside) / self._marked,
            average_precision=self._precision / self._marked,
            f1_max=self._f1,
            aupro=overlaps[0],
            aupro_5=overlaps[1],
            aupimo=float(np.mean(pimo[defective])) if self._good else None,
            recall=float(np.mean(recall[defective])) if self._good else None,
            image_aupimo=pimo,
            image_recall=recall,
        )

    def _by_image(
        self, regions: Float[np.ndarray, " r"], defective: Sequence[int]
    ) -> Float[np.ndarray, " n"]:
        """Return the regions' sums of each image over its marked pixels; NaN for other images."""
        shares = np.full(self._maps, np.nan)
        if self._good:
            sums = np.bincount(self._images, regions, minlength=self._maps)
            sizes = np.bincount(self._images, self._sizes, minlength=self._maps)
            shares[defective] = sums[defective] / sizes[defective]
        return shares
