"""The CUDA kernels compile for an H100 without one, and their machine code is as designed.

Kernels that the interpreter runs need not compile; this test checks that they do.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from benchmarks.kernel_counts import least_bytes, loop_over_steps  # needs Triton
from model.scan.triton.plan import Shape

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """In another process, since this one interprets kernels."""
    folder = tmp_path_factory.mktemp("kernels")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [
        sys.executable, "-m", "benchmarks.kernel_counts", "--stage", "3", "--images", "32",
        "--images", "1", "--dtype", "float32", "--json", folder / "counts.json",
    ]  # fmt: skip
    answer = subprocess.run(
        command, cwd=ROOT, env=environment | {"TRITON_CACHE_DIR": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return json.loads((folder / "counts.json").read_text("utf-8"))


def test_nothing_is_spilled(counts):
    assert [c["spilled_bytes"] for c in counts["counts"] + counts["backward"]] == [0] * 4


def test_a_step_needs_no_other_thread(counts):
    assert [c["shuffles_a_step"] for c in counts["counts"]] == [0, 0]


def test_a_step_has_one_exponential_a_state_and_two_for_delta(counts):
    assert [c["exponential_unit_a_step"] for c in counts["counts"]] == [18, 18]


def test_instructions_take_no_longer_than_the_exponentials(counts):
    first_count = counts["counts"][0]
    assert first_count["issue_ms"] <= 1.1 * first_count["exponentials_ms"]


def test_what_was_not_measured_says_so(counts):
    assert counts["speed"] == "not measured"


def test_the_least_bytes_are_those_of_the_arguments():
    shape = Shape(images=2, L=4, K=2, D=8, N=3, R=1)
    u, selection, y = 2 * 4 * 8, 2 * 4 * 2 * 7, 2 * 4 * 8
    assert least_bytes(shape, 4) == 4 * (u + selection + y)


def test_the_innermost_loop_with_the_exponentials_is_counted():
    listing = """
        /*0000*/  MOV R1, R2 ;
        /*0010*/  MUFU.EX2 R1, R2 ;
        /*0020*/  MUFU.EX2 R1, R2 ;
        /*0030*/  @!P0 STG.E [R1], R2 ;
        /*0040*/  STG.E [R1], R2 ;
        /*0050*/  @P1 BRA 0x10 ;
        /*0060*/  FADD R1, R2, R3 ;
        /*0070*/  @P2 BRA 0x60 ;
        /*0080*/  @P3 BRA 0x0 ;
        /*0090*/  EXIT ;
    """
    steps, kinds = loop_over_steps(listing)
    assert steps == 2
    assert kinds == {"MUFU": 2, "STG": 2, "BRA": 1}
