"""What a training ends with: a self-check without real defects, and a recommendation.

    request = CheckRequest(parts=data.held_out, train=data.train, seconds=60, rounds=8)
    check = conclude(score_parts(network, detector, request), checkpoint.calibrations, seed=0)
    recommend(checkpoint, [*data.train, *data.held_out], check).sentences["bolt"]

defects         draws defects inside a part's inspected area
pictures        the parts' pictures, and their inputs
methods         the network, PaDiM and PatchCore, asked for maps of the same inputs
fitting         the baselines, fitted in the time there is
observing       rounds of defects: scores of parts with and without them
scores          these scores
folded          the same for each fold's network
rates           shares with Wilson's intervals
findings        rates at the thresholds, image AUROC, paired intervals
promises        how many more good images the next promises need
sentences       all of it in words, and options to try if a baseline is ahead
self_check      the whole check
recommendation  numbers and words for the manifest

A check only reports: it runs after thresholds are set, and no weight, ratio or threshold depends on
a drawn defect.
"""

from model.training.advice.folded import check_fold, read_folds
from model.training.advice.observing import CheckStopped
from model.training.advice.recommendation import Recommendation, recommend
from model.training.advice.self_check import (
    CheckRequest,
    SelfCheck,
    check_time,
    conclude,
    score_parts,
)
from model.training.advice.time_limit import allowed_s

__all__ = [
    "CheckRequest",
    "CheckStopped",
    "Recommendation",
    "SelfCheck",
    "allowed_s",
    "check_fold",
    "check_time",
    "conclude",
    "read_folds",
    "recommend",
    "score_parts",
]
