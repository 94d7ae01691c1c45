"""How well scores tell defective from good: the field's metrics on plain arrays.

A metric that does not exist for the images at hand (no good ones, no defective ones, no marked
region) is None. Labels are True for defective.

    ranking.py     AUROC, AP, F1-max and their curves, of one set of scores or of many resamplings
    regions.py     AUPRO in memory, as its definition reads
    spill.py       the values of many maps, sorted, in a temporary file
    pixels.py      the pixel metrics of such a file, exact, in bounded memory
    resampling.py  bootstrap intervals, over images
"""

from model.metrics.pixels import PixelMetrics, measure
from model.metrics.ranking import Ranking, auroc, average_precision, f1_max
from model.metrics.regions import aupro
from model.metrics.spill import MapSpill

__all__ = [
    "MapSpill",
    "PixelMetrics",
    "Ranking",
    "aupro",
    "auroc",
    "average_precision",
    "f1_max",
    "measure",
]
