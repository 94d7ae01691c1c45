"""The self-check of a training in folds: each fold's network on the images it has not seen.

The scores are in runs/NAME/fold-K/self-check.json, so that a resumed run does not compute them
again. After the last fold, the final network's thresholds judge them all.
"""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from model.durable import write_durably
from model.errors import CheckpointError, ModelError
from model.inspection import Category
from model.training.advice.observing import ROUNDS, CheckStopped
from model.training.advice.scores import Scores, joined
from model.training.advice.self_check import CheckRequest, score_parts
from model.training.advice.time_limit import allowed_s
from model.training.folds import TrainedFold
from model.training.run import FOLD_FOLDERS

CHECK_FILE = "self-check.json"

logger = logging.getLogger(__name__)


def check_fold(fold: TrainedFold, stop: Callable[[], bool]) -> None:
    """Draw defects into a fold's left-out images, and write the scores of its network."""
    config = fold.run.recipe.training
    request = CheckRequest(
        parts=fold.left_out,
        train=fold.train,
        seconds=allowed_s(fold.seconds * (config.folds + 1)) / config.folds,
        seed=config.seed,
        rounds=math.ceil(ROUNDS / config.folds),
        stop=stop,
    )
    try:
        scores = score_parts(fold.network, fold.detector, request)
        write_scores(fold.run.folder, scores)
    except CheckStopped:
        return
    except ModelError as error:  # the training is worth more than its check
        logger.warning("no self-check of %s: %s", fold.run.folder.name, error)


def write_scores(folder: Path, scores: Mapping[Category, Scores]) -> None:
    """Write the scores of a fold's network; raises `CheckpointError` for a failed write."""
    text = json.dumps({category: one.to_dict() for category, one in scores.items()})
    try:
        write_durably(folder / CHECK_FILE, text.encode())
    except OSError as error:
        raise CheckpointError(f"cannot write {folder / CHECK_FILE}: {error}") from error


def read_folds(folder: Path) -> tuple[dict[Category, Scores], int]:
    """Return the scores of all folds of a run, and the number of folds that have any.

    Raises `CheckpointError` for a damaged file.
    """
    parts: dict[Category, list[Scores]] = defaultdict(list)
    paths = sorted(folder.glob(f"{FOLD_FOLDERS}*/{CHECK_FILE}"))
    for path in paths:
        try:
            values = json.loads(path.read_text("utf-8"))
            for category, scores in values.items():
                parts[category].append(Scores.from_dict(scores))
        except (OSError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path} is not a file of a self-check: {error}") from error
    return {category: joined(scores) for category, scores in parts.items()}, len(paths)
