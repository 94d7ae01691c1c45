"""A training's self-check with drawn defects, and its recommendation, by category."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from model.checkpoints.manifest import Manifest
from service.console.models.manifest_values import (
    MOST_TEXT,
    Measured,
    mapping,
    measured,
    number,
    share,
    whole,
)

STRENGTHS = ("faint", "medium", "strong")
KINDS = ("scratch", "stain", "crack", "hole", "fibre", "smear", "tint", "dent", "swap")
RIVALS = ("PaDiM", "PatchCore")
_NETWORK = "MambaAD"
_MOST_CATEGORIES = 200
_MOST_LINES = 20
_MOST_SENTENCE = 1000
_MISSED = 3
_OFTEN = 0.95


@dataclass(frozen=True, slots=True)
class RivalResult:
    """A baseline; `lead` is its image AUROC minus the network's, clear if above chance."""

    name: str
    found: Measured | None
    auroc: Measured | None
    lead: float
    is_clear: bool


@dataclass(frozen=True, slots=True)
class NextImages:
    """The held-out good images that a false-reject rate needs, and how many are missing."""

    rate: float
    needed: int
    missing: int


@dataclass(frozen=True, slots=True)
class CategoryCheck:
    """One category's self-check; everything is None or empty without one.

    `is_current` is False if the threshold was changed after the check.
    """

    category: str
    defects: int | None
    parts: int | None
    found: Measured | None
    auroc: Measured | None
    strengths: Mapping[str, Measured | None]
    missed: Sequence[tuple[str, Measured]]
    rivals: Sequence[RivalResult]
    next_images: Sequence[NextImages]
    sentences: Sequence[str]
    is_current: bool


def self_checks_of(manifest: Manifest) -> list[CategoryCheck]:
    """Return every category with a self-check or a recommendation, in order of name."""
    checks = mapping(mapping(manifest.training.get("self_check")).get("categories"))
    advice = mapping(mapping(manifest.training.get("recommendation")).get("categories"))
    return [
        _check(name, mapping(checks.get(name)), mapping(advice.get(name)), manifest)
        for name in sorted({*checks, *advice})[:_MOST_CATEGORIES]
    ]


def _check(
    name: str, check: Mapping[str, object], advice: Mapping[str, object], manifest: Manifest
) -> CategoryCheck:
    methods = mapping(check.get("methods"))
    network = mapping(methods.get(_NETWORK))
    strengths, kinds = mapping(check.get("strengths")), mapping(check.get("kinds"))
    by_kind = [(kind, _found(mapping(kinds.get(kind)))) for kind in KINDS]
    missed = [(kind, found) for kind, found in by_kind if found and found.value < _OFTEN]
    calibration = manifest.calibrations.get(name, {})
    thresholds = {calibration.get(key) for key in ("image_threshold", "review_threshold")}
    return CategoryCheck(
        category=name[:MOST_TEXT],
        defects=whole(network.get("drawn")),
        parts=whole(check.get("drawn_parts")),
        found=_found(network),
        auroc=measured(network.get("image_auroc"), None),
        strengths={strength: _found(mapping(strengths.get(strength))) for strength in STRENGTHS},
        missed=sorted(missed, key=lambda pair: pair[1].value)[:_MISSED],
        rivals=list(_rivals(methods, mapping(check.get("leads")))),
        next_images=list(_next_images(advice.get("next"))),
        sentences=_sentences(advice.get("sentences")),
        is_current=number(network.get("threshold")) in thresholds,
    )


def _found(values: Mapping[str, object]) -> Measured | None:
    found, drawn = whole(values.get("found")), whole(values.get("drawn"))
    if found is None or not drawn:
        return None
    return measured(found / drawn, values.get("interval"))


def _rivals(methods: Mapping[str, object], leads: Mapping[str, object]) -> Iterator[RivalResult]:
    for name in RIVALS:
        values, lead = mapping(methods.get(name)), mapping(leads.get(name))
        difference = number(lead.get("image_auroc"))
        if difference is None or not -1 <= difference <= 1:
            continue
        pair = lead.get("interval")
        low = number(pair[0]) if isinstance(pair, list | tuple) and len(pair) == 2 else None
        auroc = measured(values.get("image_auroc"), None)
        is_clear = low is not None and low > 0
        yield RivalResult(name, _found(values), auroc, difference, is_clear)


def _next_images(values: object) -> Iterator[NextImages]:
    for entry in values[:_MOST_LINES] if isinstance(values, list | tuple) else ():
        step = mapping(entry)
        rate, needed = share(step.get("alpha")), whole(step.get("needed"))
        missing = whole(step.get("missing"))
        if rate is not None and needed is not None and missing is not None:
            yield NextImages(rate, needed, missing)


def _sentences(values: object) -> list[str]:
    if not isinstance(values, list | tuple):
        return []
    texts = [sentence for sentence in values[:_MOST_LINES] if isinstance(sentence, str)]
    return [sentence[:_MOST_SENTENCE] for sentence in texts]
