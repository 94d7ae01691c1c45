"""The budget detects wasted memory, silence and work, wherever they occur."""

import subprocess
import sys
from dataclasses import dataclass

import psutil
import pytest

from benchmarks.soaking.exchange import exchange
from tests.service.budget import Budget, Cost, OverBudget, Scales
from tests.service.live import ROOT
from tests.service.wasteful import BESIDE

LIMITS = Budget(memory_mb=150, silence_s=0.5, processor_s=0.5)
ENOUGH = Budget(memory_mb=2000, silence_s=60, processor_s=60)


@dataclass
class Wasteful:
    front: psutil.Process
    url: str


@pytest.fixture(scope="module")
def wasteful():
    command = [sys.executable, "-m", "tests.service.wasteful"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Wasteful(psutil.Process(process.pid), process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def scales(wasteful):
    with Scales(wasteful) as scales:
        yield scales


def post(path):
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def test_a_request_within_its_budget_is_answered(scales):
    reply, cost = scales.hold("nothing", post("/nothing"), LIMITS)
    assert (reply.status, reply.body) == (200, b"{}")
    assert cost.beyond(LIMITS) == []


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/allocate", "memory"),
        ("/allocate-in-child", "memory"),
        ("/block", "silence of /livez"),
        ("/burn", "processor time"),
        ("/burn-in-child", "processor time"),
        ("/burn-later", "processor time"),
    ],
)
def test_waste_is_seen_and_told(scales, path, what):
    with pytest.raises(OverBudget) as raised:
        scales.hold(f"a request to {path}", post(path), LIMITS)
    assert f"a request to {path}: " in str(raised.value)
    message = str(raised.value).partition("(")[0]
    assert f"{what} " in message
    if path in BESIDE:
        assert "silence" not in message


def test_blocking_is_neither_memory_nor_work(scales):
    _, cost = scales.hold("a request that blocks", post("/block"), ENOUGH)
    assert cost.silence_s > 0.7
    assert cost.memory_mb < 100
    assert cost.processor_s < 0.4


def test_a_callable_is_weighed_like_bytes(scales, wasteful):
    with pytest.raises(OverBudget, match="memory"):
        scales.hold("a callable", lambda: exchange(wasteful.url, post("/allocate")), LIMITS)


def test_the_message_has_every_figure_and_its_limit():
    cost = Cost(memory_mb=812.0, silence_s=2.5, processor_s=0.1)
    assert cost.beyond(Budget(memory_mb=256, silence_s=1, processor_s=5)) == [
        "memory 812 MB, and 256 MB are allowed",
        "silence of /livez 2.5 s, and 1 s are allowed",
    ]
