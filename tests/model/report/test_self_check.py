"""The report's section on the self-check and on the choice of the recipe."""

from dataclasses import replace

import pytest

from model.calibration.calibration import Calibration
from model.checkpoints.manifest import Manifest
from model.evaluation import evaluate
from model.metrics import wilson
from model.report import Subject, write_report
from model.report.self_check import check_sections
from model.training.advice.promises import outlook
from tests.model.report.test_report import Page, detector, manifest, samples
from tests.service.console.models.checked import checked

__all__ = ["samples"]

CALIBRATION = Calibration(0.5, 0.5, 0.2, 0.2, 0.05, 60)
RECIPE = {"recipe": {"epochs": 6}}
CHOICE = {
    "base": "fast",
    "reasons": ["parts lie the same way (0.41): <b>each</b> place is compared"],
    "warnings": ["images are reduced 9 times"],
    "alignment": {
        "bolt": {
            "images": 20,
            "share": 0.412,
            "by_chance": 0.02,
            "fitted": 0.43,
            "fitted_by_chance": 0.1,
            "left_right": 0.01,
            "top_bottom": 0.01,
            "aligned": True,
        }
    },
}


def trained(training, **more):
    return Manifest.from_values({**manifest("parts").model_dump(), "training": training, **more})


def page(tmp_path, samples, training, **more):
    reported = detector(0.5)
    subject = Subject(
        reported, trained(training, **more), evaluate(reported, samples), tmp_path
    )  # fmt: skip
    write_report(tmp_path / "report.html", subject)
    return (tmp_path / "report.html").read_text("utf-8")


def part_of(text, title, end):
    return Page(text).text.partition(f" {title} ")[2].partition(f" {end} ")[0]


def test_found_defects_are_told_by_strength_and_kind_with_wilsons_intervals(tmp_path, samples):
    training = {**checked(CALIBRATION), **RECIPE}
    stored = training["self_check"]["categories"]["bolt"]
    shown = Page(page(tmp_path, samples, training)).text
    assert "216 defects were drawn into 8 of 12 held-out good parts." in shown
    assert "fitted on the network's 48 training images" in shown
    for name, rate in {**stored["strengths"], **stored["kinds"]}.items():
        found, drawn = rate["found"], rate["drawn"]
        low, high = (f"{100 * limit:.1f}" for limit in wilson(found, drawn))
        few = " *" if drawn < 30 else ""
        expected = f"{name} {drawn}{few} {found} {100 * found / drawn:.1f} {low} – {high}"  # noqa: RUF001
        assert expected in shown
    assert "Drawn defects are not real ones" in shown


def test_baselines_stand_beside_the_network_with_paired_intervals(tmp_path, samples):
    training = {**checked(CALIBRATION), **RECIPE}
    stored = training["self_check"]["categories"]["bolt"]
    text = page(tmp_path, samples, training)
    shown = Page(text).text
    assert "PatchCore is clearly ahead" in shown
    assert "Found drawn defects of bolt" in text
    lead = stored["leads"]["PatchCore"]
    low, high = sorted(-100 * limit for limit in lead["interval"])
    auroc = 100 * stored["methods"]["PatchCore"]["image_auroc"]
    ends = f"{low:+.1f} to {high:+.1f}".replace("-", "−")  # noqa: RUF001
    ahead = f"{-100 * lead['image_auroc']:+.1f}".replace("-", "−")  # noqa: RUF001
    assert f"{auroc:.1f} {ahead} {ends}" in shown


def test_the_promise_and_the_images_for_the_next_one(tmp_path, samples):
    training = {**checked(CALIBRATION), **RECIPE}
    shown = Page(page(tmp_path, samples, training)).text
    assert "Target: 5 % false rejects. 60 good images were held out, of 60 in all" in shown
    assert "enough for the target and for the next finer one" in shown
    few = outlook(replace(CALIBRATION, good_images=9), 45, 0.2).to_dict()
    training["recommendation"]["categories"]["bolt"] = few
    shown = Page(page(tmp_path, samples, training)).text
    assert "9 good images were held out, of 45 in all: on average at most 10 %" in shown
    assert "too few to promise the target" in shown
    assert "5 19 10 93 2 49 40 243" in shown  # of 93 images a fifth is 19, of 243 it is 49
    folds = outlook(replace(CALIBRATION, good_images=45, folds=3), 45, 0.2).to_dict()
    training["recommendation"]["categories"]["bolt"] = folds
    shown = Page(page(tmp_path, samples, training)).text
    assert "None of the 45 good images was held out: networks of folds scored 45" in shown
    assert "an estimate, not a promise" in shown


def test_another_threshold_than_that_of_the_check_is_told(tmp_path, samples):
    other = Calibration(0.75, 0.75, 0.2, 0.2, 0.02, 40)
    shown = Page(page(tmp_path, samples, {**checked(other), **RECIPE})).text
    assert "The threshold was changed after the self-check, from 0.75 to 0.5" in shown
    assert "mambaad advise parts DATA repeats the check" in shown
    assert "The thresholds were calibrated again since" in shown
    same = Page(page(tmp_path, samples, {**checked(CALIBRATION), **RECIPE})).text
    assert "was changed after" not in same
    assert "calibrated again since" not in same


def test_a_check_in_folds_says_who_judged(tmp_path, samples):
    training = {**checked(CALIBRATION), **RECIPE}
    training["self_check"]["folds"] = 3
    shown = Page(page(tmp_path, samples, training)).text
    assert "each judged by the network of the 3 folds that was trained without it" in shown


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (RECIPE, "trained by an older version, or without one"),
        ({}, "it was not trained by mambaad train"),
        ({"self_check": {"categories": {"bolt": {"parts": "many"}}}, **RECIPE}, "cannot read"),
        ({"self_check": {"categories": {"bolt": [1]}}}, "cannot read"),
        ({"self_check": 7, "recommendation": [], "choice": "?", **RECIPE}, "older version"),
    ],
)
def test_a_checkpoint_without_a_readable_self_check_says_so(tmp_path, samples, training, words):
    text = page(tmp_path, samples, training)
    shown = part_of(text, "bolt: drawn defects", "Training")
    assert words in shown
    assert "does not say how many good images the next promise needs" in shown
    assert "does not say how its recipe was chosen" in Page(text).text
    assert "Found drawn defects" not in text


def test_the_choice_of_the_recipe_is_told_with_the_measured_alignment(tmp_path, samples):
    scoring = {"distance": "mahalanobis", "memory": 1000, "memory_weight": 2.0}
    text = page(tmp_path, samples, {**RECIPE, "choice": CHOICE}, scoring=scoring)
    shown = Page(text).text
    assert "The images chose the recipe, from fast:" in shown
    assert "<b>each</b> place" in shown  # as text
    assert "<b>" not in text
    assert "images are reduced 9 times" in shown
    assert "bolt 20 0.41 0.02 0.43 yes" in shown
    assert "mahalanobis: each place with the same place of good parts" in shown
    assert "1000 patches of good parts for each category, with weight 2" in shown
    named = {"base": None, "reasons": [], "warnings": [], "alignment": {}}
    shown = Page(page(tmp_path, samples, {**RECIPE, "choice": named})).text
    assert "The recipe was named when the training began, and kept as it was." in shown
    assert "was not measured: the recipe does not compare places" in shown
    tiled = {**named, "reasons": ["tiles have no place"]}
    shown = Page(page(tmp_path, samples, {**RECIPE, "choice": tiled})).text
    assert "and changed for the options: tiles have no place" in shown


def test_every_category_has_its_own_check():
    calibrations = {"bolt": CALIBRATION, "nut": CALIBRATION}
    sections = check_sections(trained({**checked(CALIBRATION), **RECIPE}), calibrations)
    assert [section.name for section in sections] == ["bolt", "nut"]
    assert sections[0].check is not None
    assert sections[1].check is None
    assert "no self-check" in sections[1].absent
