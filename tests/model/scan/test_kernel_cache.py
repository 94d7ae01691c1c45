"""Compiled kernels are cached on disk where possible, and work elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.scan.numba import backend as cpu

ROOT = Path(__file__).parents[3]


def answer(value: int, into: list[int]) -> None:
    into[0] = value


def test_a_cache_that_cannot_be_written_costs_a_warning(monkeypatch):
    made = []

    def njit(function, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        made.append(options)
        return function

    monkeypatch.setattr(cpu, "njit", njit)
    with pytest.warns(UserWarning, match="compiled at every start: cannot cache function"):
        kernel = cpu._kernel(answer)
    into = [0]
    kernel(7, into)
    assert into == [7] and made == [{"nogil": True}]


SCRIPT = """
import logging, sys
import torch
from model.scan import hybrid_scan, order_table
from model.scan.numba import backend as cpu
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
order = torch.from_numpy(order_table("sweep", 2, 2, 2).copy())
shapes = (1, 4, 8), (1, 4, 2, 3), (2, 8, 1), (2, 8), (2, 8, 1), (2, 8)
print(float(hybrid_scan(*(-torch.ones(s) for s in shapes), order).sum()) != 0)
print(sum(cpu._forward_units.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_a_second_start_takes_the_kernels_from_disk(tmp_path):
    environment = {
        **os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1", "NUMBA_OPT": "1", "NUMBA_CPU_NAME": "generic",  # faster to compile
    }  # fmt: skip
    hits, notices = [], []
    for _ in range(2):
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
        )
        worked, hit_count = done.stdout.split()
        assert worked == "True"
        hits.append(int(hit_count))
        notices.append(done.stderr.count("compiling kernels for this processor, once"))
    assert hits == [0, 1]
    assert notices == [1, 0]
