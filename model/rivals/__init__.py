"""Other methods on the same frozen features: what a checkpoint has to beat to be worth training.

    features.py   the encoder's feature maps, on one grid
    padim.py      PaDiM: a Gaussian at each place (Defard et al. 2021)
    patchcore.py  PatchCore: the nearest of remembered patches (Roth et al. 2022)
    scores.py     ways to make one number of an anomaly map, for any method

Both are fitted on a category's good images alone, those that the checkpoint was trained on.
"""

from model.rivals.features import Features, spread
from model.rivals.padim import Padim
from model.rivals.patchcore import PatchCore
from model.rivals.scores import SCORES, score_maps

__all__ = ["SCORES", "Features", "Padim", "PatchCore", "score_maps", "spread"]
