"""A checkpoint's recommendation: numbers for the manifest, and sentences for people."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.checkpoints.checkpoint import Checkpoint
from model.dataset import Sample
from model.inspection import Category
from model.training.advice.promises import Outlook, outlook
from model.training.advice.self_check import SelfCheck
from model.training.advice.sentences import (
    next_steps,
    sentences_of_findings,
    sentences_of_outlook,
)

SELF_CHECK, RECOMMENDATION = "self_check", "recommendation"
"""The keys in the manifest under `training`."""
_DEFAULT_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The outlook and the sentences of each category; `check` is None if there was none."""

    outlooks: Mapping[Category, Outlook]
    sentences: Mapping[Category, Sequence[str]]
    check: SelfCheck | None

    def to_dict(self) -> dict[str, Any]:
        """Return the entries for the manifest's section `training`, as JSON values.

        A None deletes the results of an earlier check.
        """
        categories = {
            name: {**outlook.to_dict(), "sentences": list(self.sentences[name])}
            for name, outlook in self.outlooks.items()
        }
        check = None if self.check is None else self.check.to_dict()
        return {RECOMMENDATION: {"categories": categories}, SELF_CHECK: check}


def recommend(
    checkpoint: Checkpoint, good: Sequence[Sample], check: SelfCheck | None
) -> Recommendation:
    """Return the recommendation for a checkpoint; `good` are all its good images."""
    training = checkpoint.manifest.training
    share = training.get("recipe", {}).get("held_out_fraction", _DEFAULT_SHARE)
    images = Counter(sample.category for sample in good)
    outlooks = {
        category: outlook(calibration, max(images[category], calibration.good_images), share)
        for category, calibration in checkpoint.calibrations.items()
    }
    sentences = {
        category: tuple(_sentences(checkpoint, view, check, category))
        for category, view in outlooks.items()
    }
    return Recommendation(outlooks=outlooks, sentences=sentences, check=check)


def _sentences(
    checkpoint: Checkpoint, view: Outlook, check: SelfCheck | None, category: Category
) -> Iterator[str]:
    manifest = checkpoint.manifest
    yield from sentences_of_outlook(view)
    findings = None if check is None else check.findings.get(category)
    if check is not None and findings is not None:
        steps = next_steps(manifest.training, manifest.scoring, manifest.preprocessing, view.in_all)
        yield from sentences_of_findings(findings, view, steps, check.folds)
