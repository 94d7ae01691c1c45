import platform
import subprocess
import sys
from pathlib import Path

import pytest

from model.memory import keep_freed_memory

ROOT = Path(__file__).parents[2]

FAULTS = """
import resource, sys
from model.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def fresh():
    block = bytearray(64 * 1024**2)
    block[::4096] = bytes(len(block) // 4096)
fresh()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fresh()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    command = [sys.executable, "-c", FAULTS, mode]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(answer.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_memory_is_used_again_without_page_faults():
    assert faults("keep") < faults("plain") / 10


def test_elsewhere_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
