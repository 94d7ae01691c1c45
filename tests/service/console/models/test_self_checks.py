"""A version's self-check is read from any manifest, by type and not by trust."""

import json
from types import SimpleNamespace

import pytest

from model.calibration.calibration import Calibration
from model.training.advice.sentences import NOT_REAL
from service.console.models.self_checks import self_checks_of
from tests.service.console.models.checked import CATEGORY, checked
from tests.service.console.test_pages import HOSTILE

CALIBRATION = Calibration.fit(range(12), range(12), 0.01)


def read(training, calibration=CALIBRATION):
    values = {CATEGORY: calibration.to_dict()}
    return self_checks_of(SimpleNamespace(training=training, calibrations=values))


def test_a_check_is_read_as_it_was_written():
    training = json.loads(json.dumps(checked(CALIBRATION)))
    (check,) = read(training)
    written = training["self_check"]["categories"][CATEGORY]
    network = written["methods"]["MambaAD"]
    assert (check.defects, check.parts) == (216, 8)
    assert check.found.value == network["found"] / 216
    assert [check.found.low, check.found.high] == network["interval"]
    assert check.auroc.value == network["image_auroc"]
    assert set(check.strengths) == set(written["strengths"])
    rates = {kind: rate["found"] / rate["drawn"] for kind, rate in written["kinds"].items()}
    assert [found.value for _, found in check.missed] == sorted(rates.values())[:3]
    assert {rival.name for rival in check.rivals if rival.is_clear} >= {"PatchCore"}
    assert [step.needed for step in check.next_images] == [19, 49, 99, 199]
    assert NOT_REAL in check.sentences
    assert check.is_current
    other = CALIBRATION.with_thresholds(image=CALIBRATION.image_threshold + 1)
    assert not read(training, other)[0].is_current


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"self_check": HOSTILE, "recommendation": [HOSTILE]},
        {"self_check": {"categories": {HOSTILE: HOSTILE}}},
        {"self_check": {"categories": {"bolt": {"methods": {"MambaAD": {"found": 9}}}}}},
        {"self_check": {"categories": {"bolt": {"methods": [1], "kinds": {"scratch": HOSTILE}}}}},
        {"self_check": {"categories": {"bolt": {"leads": {"PaDiM": {"image_auroc": 1e300}}}}}},
        {"recommendation": {"categories": {"bolt": {"next": [HOSTILE, {"alpha": HOSTILE}]}}}},
        {"recommendation": {"categories": {"bolt": {"sentences": [HOSTILE, 7, None]}}}},
    ],
)
def test_values_of_other_types_are_left_out(training):
    for check in read(training):
        assert check.found is None
        assert check.rivals == []
        assert check.next_images == []
        assert check.sentences in ([], [HOSTILE])
