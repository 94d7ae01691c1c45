import logging
import math

import pytest
import torch

from model.engines.cuda.plan import (
    CANDIDATES,
    PRECISIONS,
    REFERENCE,
    Plan,
    Trial,
    attempt,
    candidates,
    fastest,
    matrix_precision,
)

HALF = Plan("float16", "float16", fused=True)
TF32 = Plan("tf32", "tf32", fused=True)


def test_the_fastest_of_those_that_agree_is_taken():
    trials = [
        Trial(REFERENCE, 3.0, 0.0), Trial(TF32, 2.0, 1.0), Trial(HALF, 1.0, 1.01),
        Trial(Plan("bfloat16", "bfloat16", fused=True), 0.5, math.nan),
    ]  # fmt: skip
    chosen = fastest(trials)
    assert chosen is not None
    assert chosen.plan == TF32
    assert fastest(trials[2:]) is None


def test_a_plan_that_disagrees_is_not_timed():
    trial = attempt(HALF, lambda: pytest.fail("timed"), lambda: 1.5)
    assert trial == Trial(HALF, math.inf, 1.5)
    assert attempt(HALF, lambda: 0.25, lambda: 0.5) == Trial(HALF, 0.25, 0.5)


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, torch.OutOfMemoryError])
def test_a_plan_that_cannot_run_is_left_out_and_its_reason_logged(caplog, error):
    def refuse():
        raise error("no such kernel on this device")

    with caplog.at_level(logging.WARNING):
        assert attempt(HALF, lambda: 1.0, refuse) is None
    assert "no such kernel on this device" in caplog.text
    assert "float16" in caplog.text


@pytest.mark.parametrize("fused", [False, True])
def test_a_wished_precision_leaves_its_own_plans_alone(fused):
    for precision in PRECISIONS:
        plans = candidates(precision, fused=fused)
        assert all(plan.encoder == plan.decoder == precision for plan in plans)
        assert all(fused or not plan.fused for plan in plans)
    assert REFERENCE not in candidates("float32", fused=fused)
    assert set(candidates("auto", fused=True)) == set(CANDIDATES)
    assert {p.encoder for p in candidates("auto", fused=False)} == {"tf32", "float16"}


def test_what_16_bits_overflow():
    assert HALF.may_overflow
    assert Plan("float16", "tf32", fused=True).may_overflow
    assert not Plan("bfloat16", "bfloat16", fused=True).may_overflow


def test_matrix_precision_holds_for_its_block_alone():
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [backend.fp32_precision for backend in backends]
    with matrix_precision("tf32"):
        assert [backend.fp32_precision for backend in backends] == ["tf32", "tf32"]
        with matrix_precision("float32"):
            assert [backend.fp32_precision for backend in backends] == ["ieee", "ieee"]
        assert [backend.fp32_precision for backend in backends] == ["tf32", "tf32"]
    assert [backend.fp32_precision for backend in backends] == before
