"""The field's metrics of how well scores separate defective from good, on plain arrays.

A metric that is undefined for a set of images (no good ones, no defective ones, no marked region)
is None. Labels are True for defective.

    >>> import numpy as np
    >>> auroc(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.3, 0.9]))
    0.75

    ranking.py     AUROC, AP, F1-max and their curves, for one set of scores or many resamplings
    regions.py     AUPRO in memory, straight from its definition
    spill.py       the values of many maps, sorted, in a temporary file
    pixels.py      exact pixel metrics from that file, in bounded memory
    resampling.py  bootstrap intervals, over images
    rates.py       false rejects and escapes at every threshold, Wilson's intervals
"""

from model.metrics.pixels import PixelMetrics, measure
from model.metrics.ranking import Ranking, auroc, average_precision, f1_max
from model.metrics.rates import DrawnRates, TradeOff, wilson, wilson_band
from model.metrics.regions import aupro
from model.metrics.spill import MapSpill

__all__ = [
    "DrawnRates",
    "MapSpill",
    "PixelMetrics",
    "Ranking",
    "TradeOff",
    "aupro",
    "auroc",
    "average_precision",
    "f1_max",
    "measure",
    "wilson",
    "wilson_band",
]
