"""The pixel metrics of many maps, exact, one range of values at a time.

All of them are sums over the marked pixels of what the counts above each one say: how many
unmarked pixels are higher, how many tie, and the same of marked ones. So the values need be in
order, and never in memory together: bins of float32 values are counted exactly, from the highest
down, either in a table of every float32 there is in a bin or, where there are few, sorted.

AUROC, AP and F1-max are scikit-learn's; AUPRO is joined by straight lines between all distinct
values, up to a limit of the false-positive rate over unmarked pixels, and averaged over regions.
PIMO (Bertoldo et al. 2024) asks each defective image for its recall where a false-positive rate
over *good images alone* is reached, and AUPIMO averages that over the rate's logarithm.
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
"""Between these false-positive rates AUPIMO is taken; the per-image recall is that at the upper."""

_FEW = 2**20
_PART = 2**16

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class PixelMetrics:
    """The metrics over all pixels, and recall by image at the rates that PIMO asks for.

    `aupimo` and `recall` are means over images with a marked pixel, and None without a good image;
    `image_aupimo` and `image_recall` are those of each image, NaN where it has none.
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
        """Return the metrics of all images by the names that evaluations have for them."""
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
    """Return the metrics of all maps, or of some; None where pixels are all marked, or none is.

    `advance` hears how many pixels were gone through.
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
            counted = [
                source.count(low, high, int(base))
                for source, base in zip(sources, higher, strict=True)
            ]
            for keys, regions in spill.marked.read_numbered(defective, low, high):
                for part in _parts(len(keys)):
                    sums.add([one(keys[part]) for one in counted], regions[part])
        higher += inside
        advance(int(inside.sum()))
    return sums.metrics(defective)


def _parts(count: int) -> Iterator[slice]:
    """Cut many numbers into so few that what is made of them stays in the cache."""
    return (slice(start, start + _PART) for start in range(0, count, _PART))


def _ranges(sources: Sequence["_Source"]) -> Iterator[tuple[int, int]]:
    """Yield ranges of bins from the highest down: a full bin alone, emptier ones together."""
    counts = np.sum([source.counts for source in sources], axis=0)
    high, held = BINS, 0
    for bin_ in range(BINS - 1, -1, -1):
        if held and held + counts[bin_] > _FEW:
            yield bin_ + 1, high
            high, held = bin_ + 1, 0
        held += int(counts[bin_])
    if held:
        yield 0, high


Counts = Callable[[UInt32[np.ndarray, " n"]], tuple[np.ndarray, np.ndarray]]
"""For each key, how many are higher and how many are equal."""


class _Source:
    """The keys of one kind of pixel, from some images."""

    def __init__(self, column: Column, images: Sequence[int]) -> None:
        self._column = column
        self._images = images
        self.counts = column.counts(images)

    def count(self, low: int, high: int, base: int) -> Counts:
        """Count the keys in a range of bins, above which there are `base`."""
        inside = int(self.counts[low:high].sum())
        if inside > _FEW:  # then the range is a single bin
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
    """What the marked pixels come to, as they are gone through."""

    def __init__(self, spill: MapSpill, totals: Sequence[int]) -> None:
        self._good, self._beside, self._marked = totals
        self._images = np.array(spill.region_images)
        self._sizes = np.array(spill.region_sizes)
        self._area = self._precision = self._f1 = 0.0
        regions = len(self._sizes)
        self._overlaps = {limit: np.zeros(regions) for limit in FPR_LIMITS}
        self._pimo = np.zeros(regions)
        self._found = np.zeros(regions)
        self._maps = len(spill)

    def add(
        self, counts: Sequence[tuple[np.ndarray, np.ndarray]], regions: Int[np.ndarray, " n"]
    ) -> None:
        """Take some marked pixels: counts above and at each, of the three kinds."""
        (good, good_ties), (beside, beside_ties), (hits, hit_ties) = counts
        unmarked = self._good + self._beside
        higher, ties = good + beside, good_ties + beside_ties
        self._area += float(np.sum(unmarked - higher - ties / 2))
        alarms, found = higher + ties, hits + hit_ties
        self._precision += float(np.sum(found / (found + alarms)))
        self._f1 = max(self._f1, float(np.max(2 * found / (found + alarms + self._marked))))
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
        self._found += np.bincount(regions[within], minlength=len(self._found))

    def metrics(self, defective: Sequence[int]) -> PixelMetrics:
        """Return the metrics, once every marked pixel of these images was taken."""
        ours = np.isin(self._images, defective)
        overlaps = [
            float(np.mean(sums[ours] / self._sizes[ours]) / limit)
            for limit, sums in self._overlaps.items()
        ]
        pimo = self._by_image(self._pimo, defective)
        recall = self._by_image(self._found, defective)
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
        """Return the share that marked pixels of each image come to; NaN for other images."""
        found = np.full(self._maps, np.nan)
        if self._good:
            sums = np.bincount(self._images, regions, minlength=self._maps)
            sizes = np.bincount(self._images, self._sizes, minlength=self._maps)
            found[defective] = sums[defective] / sizes[defective]
        return found
