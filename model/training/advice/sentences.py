"""The recommendation in words, for the end of a training."""

from collections.abc import Iterator, Mapping
from typing import Any

from model.calibration.conformal import images_needed, percent
from model.images.framing import TILE
from model.training.advice.findings import Findings
from model.training.advice.methods import NETWORK
from model.training.advice.promises import RATES, Outlook
from model.training.advice.rates import FoundRate
from model.training.recipe.recipe import paths, read_recipe

NOT_REAL = (
    "Drawn defects are not real ones: how many real defects are found, only an evaluation on real "
    "ones can tell."
)
MEMORY = "train with a memory of good parts beside the network (--memory 1000)"
_MEMORY_KEY = "scoring.memory"
_FEW_IMAGES = 100
_MISSED = 3
_OFTEN = 0.95


def sentences_of_outlook(outlook: Outlook) -> Iterator[str]:
    """Say how many good images the next promises need, and what folds would give."""
    if outlook.next_promises:
        wanted = [
            f"{percent(n.alpha)} with {n.needed} held out ({n.missing} more"
            + (f"; {n.in_all} good images in all)" if outlook.shares_images else ")")
            for n in outlook.next_promises
        ]
        of_share = f" at --held-out-fraction {outlook.held_out_share:g}"
        share = of_share if outlook.shares_images else ""
        yield (
            f"Next promises: {', '.join(wanted)}{share}. There are {outlook.in_all} good images "
            "now."
        )
    else:
        finest = min(r for r in (*RATES, outlook.alpha) if images_needed(r) <= outlook.good_images)
        yield f"These good images are enough for each promise down to {percent(finest)}."
    if outlook.is_promise and outlook.folds_rate < outlook.rate:
        move = "" if outlook.shares_images else " (move the held-out ones to training)"
        yield (
            f"With --folds 5{move}, all {outlook.in_all} good images would train the network and "
            f"set the threshold, at about {percent(outlook.folds_rate)} instead of "
            f"{percent(outlook.rate)}: an estimate, not a promise, in about 6 times the training "
            "time."
        )


def sentences_of_findings(
    findings: Findings, outlook: Outlook, steps: list[str], folds: int | None
) -> Iterator[str]:
    """Say how many drawn defects were found, which ones were missed, and who was ahead."""
    found, network = findings.network.found, findings.network
    into = "held-out good parts" if folds is None else "good parts, for networks without them"
    scored = ""
    if findings.parts < outlook.good_images:
        scored = f" ({findings.parts} of {outlook.good_images} were scored in the time)"
    yield (
        f"Self-check: {found.drawn} defects were drawn into {findings.drawn_parts} {into}{scored}. "
        f"The threshold finds {_rate(found)}; by strength {_list(findings.strengths)}. Image AUROC "
        f"{100 * network.image_auroc:.1f}."
    )
    missed = [(name, rate) for name, rate in _worst_first(findings.kinds) if rate.rate < _OFTEN]
    if missed:
        yield f"Missed most: {_list(dict(missed[:_MISSED]))}."
    for alpha, rate in findings.at_rates.items():
        yield (
            f"With --alpha {alpha:g} the threshold would find {_rate(rate)} instead, and reject "
            f"up to {percent(max(alpha, outlook.rate))} of good parts."
        )
    yield from _sentences_of_rivals(findings, steps)
    if findings.undrawable:
        yield f"Not drawn, because they would not be visible: {', '.join(findings.undrawable)}."
    yield NOT_REAL


def next_steps(
    training: Mapping[str, Any],
    scoring: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    good_images: int,
) -> list[str]:
    """Return options of `mambaad train` that a checkpoint has not used, by its manifest's sections.

    `good_images` are those of a category, for training and thresholds.
    """
    recipe = training.get("recipe", {})
    steps = []
    if _MEMORY_KEY in paths() and not scoring.get("memory"):
        steps.append(MEMORY)
    is_placed = scoring.get("standardise") or scoring.get("distance") == "mahalanobis"
    if not is_placed and preprocessing.get("resize") != TILE:
        steps.append(
            "if all parts lie the same way in the image, compare each place with good parts there "
            "(--set distance=mahalanobis)"
        )
    if recipe.get("epochs", 0) < read_recipe("quality")["training"]["epochs"]:
        steps.append("train longer (--recipe quality)")
    if not recipe.get("folds") and good_images < _FEW_IMAGES:
        steps.append("train on all good images (--folds 5)")
    return [*steps, "add good images that show how good parts vary"]


def _sentences_of_rivals(findings: Findings, steps: list[str]) -> Iterator[str]:
    best = findings.best_rival
    if best is None:
        yield "There was no time to fit PaDiM and PatchCore for comparison."
        return
    some = ""
    if findings.fitted_on < findings.trained_on:
        some = f" (fitted on {findings.fitted_on} of {findings.trained_on} training images)"
    for name, lead in findings.leads.items():
        rival = findings.methods[name]
        points = 100 * abs(lead.image_auroc)
        between = ""
        if lead.interval is not None:
            low, high = sorted(
                100 * limit * (-1 if lead.image_auroc < 0 else 1) for limit in lead.interval
            )
            between = f" ({low:.1f} to {high:.1f})"
        side = "more" if lead.image_auroc >= 0 else "less"
        yield (
            f"{name}{some} has {points:.1f} points {side} image AUROC{between}; at its threshold "
            f"for the same alpha it finds {_rate(rival.found)}."
        )
    if findings.leads[best].is_clear:
        yield f"{best} is clearly ahead of {NETWORK} here. Next steps: {'; '.join(steps)}."
    elif all(lead.interval is None for lead in findings.leads.values()):
        yield f"{findings.parts} parts are too few to tell which method is better."
    elif all(lead.is_clearly_behind for lead in findings.leads.values()):
        yield f"{NETWORK} is clearly ahead of both baselines here."
    else:
        yield f"No baseline is clearly ahead of {NETWORK} here."


def _worst_first(rates: Mapping[str, FoundRate]) -> list[tuple[str, FoundRate]]:
    return sorted(rates.items(), key=lambda pair: pair[1].rate)


def _rate(rate: FoundRate) -> str:
    low, high = (100 * limit for limit in rate.interval)
    return f"{rate.found} of {rate.drawn} ({100 * rate.rate:.0f} %; {low:.0f} to {high:.0f})"


def _list(rates: Mapping[str, FoundRate]) -> str:
    return ", ".join(
        f"{name} {100 * rate.rate:.0f} % ({rate.found} of {rate.drawn})"
        for name, rate in rates.items()
    )
