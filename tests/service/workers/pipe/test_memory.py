"""Memory shared by two processes."""

from pathlib import Path

import numpy as np
import pytest

from service.workers.pipe.memory import SharedBlock


@pytest.fixture
def block():
    block = SharedBlock()
    yield block
    block.close()


def test_arrays_show_the_block_and_outlive_its_growth(block):
    block.reserve(16)
    small = block.array((4, 4), np.uint8)
    small[:] = np.arange(16).reshape(4, 4)
    block.reserve(1 << 20)
    large = block.array((1 << 18,), np.float32)
    assert large[:4].tobytes() == bytes(range(16))
    large[0] = 0
    assert small[0].tolist() == [0, 0, 0, 0]
    assert block.array((2,), np.uint8, 14).tolist() == [14, 15]
    assert block.array((0, 8, 8), np.float32, 1 << 30).shape == (0, 8, 8)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_closed_block_leaves_no_file():
    before = set(Path("/proc/self/fd").iterdir())
    block = SharedBlock()
    block.reserve(4096)
    block.array((8,), np.uint8)
    block.close()
    block.close()
    assert set(Path("/proc/self/fd").iterdir()) == before
