"""Free memory: of the machine, or of the container if that is less."""

import pytest

from service.workers.free_memory import free_bytes, reserve_bytes

GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:  8388608 kB\nMemFree:  1 kB\nMemAvailable:    4194304 kB\n")
    return path


def contain(folder, limit, used, cached=None):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        "anon 1\n" if cached is None else f"inactive_file {cached}\n"
    )
    return folder


@pytest.mark.parametrize(
    ("limit", "used", "cached", "free"),
    [
        ("max", GIB, GIB, 4 * GIB),
        (2 * GIB, GIB, 0, GIB),
        (2 * GIB, GIB, GIB // 2, GIB + GIB // 2),  # files that are only cached
        (2 * GIB, GIB, None, GIB),
        (64 * GIB, GIB, 0, 4 * GIB),
    ],
)
def test_a_container_limits_it(machine, tmp_path, limit, used, cached, free):
    assert free_bytes(machine, contain(tmp_path, limit, used, cached)) == free


def test_without_a_container_it_is_that_of_the_machine(machine, tmp_path):
    assert free_bytes(machine, tmp_path) == 4 * GIB


def test_a_system_that_does_not_say_has_an_unknown_amount(tmp_path):
    assert free_bytes(tmp_path / "meminfo", tmp_path) is None
    (tmp_path / "meminfo").write_text("MemTotal: 8 kB\n")
    assert free_bytes(tmp_path / "meminfo", tmp_path) is None


def test_some_memory_stays_free():
    assert reserve_bytes() >= 256 * 2**20
