from enum import IntEnum

import pytest

from service.station.machine.faults import ErrorCode
from service.station.machine.states import State
from service.station.machine.verdicts import FailSafe, Reason, Verdict
from service.station.pages.meanings import ERRORS, FAIL_SAFES, REASONS, STATES, VERDICTS


@pytest.mark.parametrize(
    ("meanings", "codes"),
    [
        (ERRORS, set(ErrorCode) - {ErrorCode.NONE}),
        (REASONS, set(Reason)),
        (STATES, set(State)),
        (VERDICTS, set(Verdict)),
        (FAIL_SAFES, set(FailSafe)),
    ],
)
def test_every_code_has_its_words(meanings: dict[IntEnum, str], codes: set[IntEnum]):
    assert meanings.keys() == codes
    assert len(set(meanings.values())) == len(codes)
