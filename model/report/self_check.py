"""The self-check of a training and the choice of its recipe, as parts of a report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from model.calibration.calibration import Calibration
from model.checkpoints.manifest import Manifest
from model.evaluation.rivalry import OURS
from model.inspection import Category
from model.report.facts import Facts
from model.report.rate_charts import found_chart
from model.report.stored_check import (
    StoredCheck,
    StoredChoice,
    StoredLead,
    StoredMethod,
    StoredOutlook,
    StoredRate,
    folds_of_check,
    has_check,
    read_check,
    read_choice,
    read_outlook,
    was_trained_here,
)

_STRENGTHS = ("faint", "medium", "strong")
_OLDER = (
    "The checkpoint has no self-check: it was trained by an older version, or without one "
    "(--no-self-check, interrupted, or no good image held out). {command} adds one."
)
_ELSEWHERE = (
    "The checkpoint has no self-check: it was not trained by mambaad train, so the good parts "
    "that it has not seen are unknown."
)
_DAMAGED = "This version cannot read the self-check in the manifest. {command} repeats it."
_NO_CHOICE = (
    "The checkpoint does not say how its recipe was chosen: it is older, or was not trained by "
    "mambaad train. Whether parts lie the same way was not measured."
)


@dataclass(frozen=True, slots=True)
class FoundRow:
    """The found defects of a kind or a strength; `is_strength` tells which."""

    name: str
    rate: StoredRate
    is_strength: bool


@dataclass(frozen=True, slots=True)
class MethodRow:
    """A method of the self-check; `ahead` is the network's image AUROC minus the method's."""

    name: str
    found: StoredMethod
    ahead: float | None = None
    interval: tuple[float, float] | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class CheckSection:
    """One category's self-check and promise; None or empty for what the manifest lacks."""

    name: Category
    check: StoredCheck | None
    outlook: StoredOutlook | None
    absent: str
    parts: str = ""
    changed: str = ""
    outdated: str = ""
    rows: tuple[FoundRow, ...] = ()
    chart: Markup = Markup("")  # noqa: RUF009 - immutable
    methods: tuple[MethodRow, ...] = ()

    @property
    def is_few(self) -> bool:
        """Whether a share stands on few defects."""
        return any(row.rate.is_few for row in self.rows)


def check_sections(
    manifest: Manifest, calibrations: Mapping[Category, Calibration]
) -> list[CheckSection]:
    """Return each calibrated category's self-check, from the manifest alone."""
    return [_section(manifest, name, calibration) for name, calibration in calibrations.items()]


def _section(manifest: Manifest, category: Category, calibration: Calibration) -> CheckSection:
    check, outlook = read_check(manifest, category), read_outlook(manifest, category)
    network = None if check is None else check.methods.get(OURS)
    outdated = "" if outlook is None else _outdated(outlook, calibration)
    if check is None or network is None:
        absent = _absence(manifest, category)
        return CheckSection(category, None, outlook, absent, outdated=outdated)
    rows = tuple(_rows(check))
    return CheckSection(
        name=category,
        check=check,
        outlook=outlook,
        absent="",
        parts=_parts(check, network, folds_of_check(manifest)),
        changed=_changed(network, calibration, manifest),
        outdated=outdated,
        rows=rows,
        chart=found_chart(
            f"Found drawn defects of {category}", [(row.name, row.rate) for row in rows]
        ),
        methods=tuple(_methods(check, network)),
    )


def _command(manifest: Manifest) -> str:
    return f"mambaad advise {manifest.name} DATA"


def _absence(manifest: Manifest, category: Category) -> str:
    """Say why there is no self-check, and what adds it."""
    if has_check(manifest, category):
        text = _DAMAGED
    else:
        text = _OLDER if was_trained_here(manifest) else _ELSEWHERE
    return text.format(command=_command(manifest))


def _parts(check: StoredCheck, network: StoredMethod, folds: int | None) -> str:
    """Say how many defects were drawn into which parts."""
    into = f"{check.drawn_parts} of {check.parts} held-out good parts"
    if folds is not None:
        into = (
            f"{check.drawn_parts} of {check.parts} good parts, each judged by the network of the "
            f"{folds} folds that was trained without it"
        )
    text = f"{network.drawn} defects were drawn into {into}."
    if not check.fitted_on:
        return f"{text} There was no time to fit the other methods, or too few training images."
    on = f"the network's {check.trained_on} training images"
    if check.fitted_on < check.trained_on:
        on = f"{check.fitted_on} of {on}"
    return f"{text} The other methods were fitted on {on}."


def _changed(network: StoredMethod, calibration: Calibration, manifest: Manifest) -> str:
    """Say so if the threshold is not that of the check."""
    if network.threshold in (calibration.image_threshold, calibration.review_threshold):
        return ""
    review = calibration.review_threshold
    now = calibration.image_threshold if review is None else review
    return (
        f"The threshold was changed after the self-check, from {network.threshold:.6g} to "
        f"{now:.6g}: the rates of found defects are those of the former one. {_command(manifest)} "
        "repeats the check."
    )


def _outdated(outlook: StoredOutlook, calibration: Calibration) -> str:
    """Say so if the thresholds do not come from the images that the outlook counts."""
    same = (outlook.alpha, outlook.good_images) == (calibration.alpha, calibration.good_images)
    if same and outlook.is_promise == (calibration.folds is None):
        return ""
    return (
        "The thresholds were calibrated again since: the promise in force is the one above, with "
        "the results of this category."
    )


def _rows(check: StoredCheck) -> Iterator[FoundRow]:
    """Yield the strengths in order, then the kinds, those found least first."""
    for name in _STRENGTHS:
        if name in check.strengths:
            yield FoundRow(name, check.strengths[name], is_strength=True)
    for name, rate in sorted(check.kinds.items(), key=lambda pair: pair[1].rate):
        yield FoundRow(name, rate, is_strength=False)


def _methods(check: StoredCheck, network: StoredMethod) -> Iterator[MethodRow]:
    yield MethodRow(OURS, network)
    for name, found in check.methods.items():
        lead = check.leads.get(name)
        if name != OURS and lead is not None:
            yield _rival(name, found, lead)


def _rival(name: str, found: StoredMethod, lead: StoredLead) -> MethodRow:
    ahead = -lead.image_auroc
    if lead.interval is None:
        return MethodRow(name, found, ahead, None, "too few parts to tell")
    low, high = -lead.interval[1], -lead.interval[0]
    verdict = "no clear difference"
    if low > 0:
        verdict = f"{OURS} is clearly ahead"
    elif high < 0:
        verdict = f"{name} is clearly ahead"
    return MethodRow(name, found, ahead, (low, high), verdict)


@dataclass(frozen=True, slots=True)
class ChoiceSection:
    """How the recipe was chosen; `unmeasured` says why it is unknown how alike parts lie."""

    text: str
    choice: StoredChoice | None
    scoring: Facts
    unmeasured: str = ""


def choice_section(manifest: Manifest) -> ChoiceSection:
    """Return how the recipe was chosen, from the manifest alone."""
    choice, scoring = read_choice(manifest), _scoring(manifest)
    if choice is None:
        return ChoiceSection(_NO_CHOICE, None, scoring)
    if choice.base is not None:
        text = f"The images chose the recipe, from {choice.base}:"
    elif choice.reasons:
        text = "The recipe was named when the training began, and changed for the options:"
    else:
        text = "The recipe was named when the training began, and kept as it was."
    unmeasured = ""
    if not choice.alignment:
        unmeasured = "the recipe does not compare places"
        if choice.base is not None:
            unmeasured = "there were too few different images"
        unmeasured = f"Whether parts lie the same way was not measured: {unmeasured}."
    return ChoiceSection(text, choice, scoring, unmeasured)


def _scoring(manifest: Manifest) -> Facts:
    """Return what the recipe compares, in words."""
    scoring = manifest.scoring
    distance = scoring.get("distance", "cosine")
    compared = (
        "mahalanobis: each place with the same place of good parts"
        if distance == "mahalanobis"
        else f"{distance}: what the network could not rebuild, wherever it lies"
    )
    memory = scoring.get("memory") or 0
    remembered = (
        f"{memory} patches of good parts for each category, with weight "
        f"{scoring.get('memory_weight', 1):g}"
        if isinstance(memory, int) and memory
        else "none"
    )
    resize = manifest.preprocessing.get("resize", "stretch")
    rows = [("Distance", compared), ("Memory", remembered), ("Images become inputs by", resize)]
    if scoring.get("standardise"):
        rows.insert(1, ("Standardised", "each pixel by the values of good parts there"))
    return [(name, str(text)) for name, text in rows]
