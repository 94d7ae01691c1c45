"""What a report is about."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.checkpoints.manifest import Manifest
from model.evaluation import Evaluation
from model.evaluation.assessment import Assessment
from model.evaluation.rivalry import Rivalry
from model.evaluation.untouched import Untouched
from model.inference.detector import Detector

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """A report's content: a checkpoint and its evaluation.

    `notes` are shown first. With `stand_in` thresholds, the report has no promises, no rates and no
    sign-off. `untouched` is the check whether the checkpoint has seen the test images; None if not
    done. Without an `assessment`, one with default costs and no criteria is made.
    """

    detector: Detector
    manifest: Manifest
    evaluation: Evaluation
    data: Path
    rivalry: Rivalry | None = None
    curve: Mapping[str, Sequence[float | None]] | None = None
    notes: tuple[str, ...] = ()
    stand_in: bool = False
    untouched: Untouched | None = None
    assessment: Assessment | None = None
