"""Image records without images, for what follows from scores and decisions alone."""

from pathlib import Path

import numpy as np

from model.dataset import Sample
from model.evaluation.measuring import _metrics
from model.evaluation.results import Evaluation, ImageRecord
from model.inspection import Decision
from model.metrics.resampling import image_replicates

REVIEW_ABOVE, NG_ABOVE = 0.4, 0.5


def record(defect, raw, number=0, area=None, category="bolt", folder="data"):
    """Return the record of a part; above 0.5 is NG, above 0.4 REVIEW."""
    path = Path(folder) / category / "test" / defect / f"{number}.png"
    decision = Decision.OK
    if raw > REVIEW_ABOVE:
        decision = Decision.NG if raw > NG_ABOVE else Decision.REVIEW
    return ImageRecord(
        Sample(path, category, defect), raw, raw / 2, NG_ABOVE, decision, area=area, map_median=0.1
    )


def records_of(**scores):
    """Return the records of each kind of part, in order."""
    return [record(kind, raw, n) for kind, raws in scores.items() for n, raw in enumerate(raws)]


def evaluation_of(records):
    """Return the evaluation of records without maps."""
    categories, replicates = {}, {}
    for category in sorted({record.sample.category for record in records}):
        of_category = [record for record in records if record.sample.category == category]
        defective = np.array([not r.sample.is_good for r in of_category])
        scores = np.array([r.raw_score for r in of_category])
        rejected = np.array([r.decision is Decision.NG for r in of_category])
        passed = np.array([r.is_escape for r in of_category])
        drawn = image_replicates(defective, scores, rejected, passed, 200, 1)
        replicates[category] = drawn
        categories[category] = _metrics(of_category, [], None, drawn, {})
    return Evaluation(categories, tuple(records), replicates)
