"""Other methods on the same frozen features: a checkpoint must beat them to be worth training.

    features.py   the encoder's feature maps, on one grid
    padim.py      PaDiM: a Gaussian at each place (Defard et al. 2021)
    patchcore.py  PatchCore: the nearest of remembered patches (Roth et al. 2022)
    scores.py     ways to reduce an anomaly map to one number, for any method

Both are fitted on the good images that the checkpoint was trained on.

    padim = Padim.fit(features.scales(batch) for batch in batches)
    maps = spread(padim.distances(features.scales(images)), (256, 256))
"""

from model.rivals.features import Features, spread
from model.rivals.padim import Padim
from model.rivals.patchcore import PatchCore
from model.rivals.scores import SCORES, score_maps

__all__ = ["SCORES", "Features", "Padim", "PatchCore", "score_maps", "spread"]
