"""Speeds are measured once, and decide only by a large difference."""

import logging
import time

import pytest

from model.runtimes.speeds import chosen, file_in, measured


def sleeping(seconds):
    return lambda: time.sleep(seconds)


def never():
    raise AssertionError("measured again")


def test_speeds_are_kept_with_their_order(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    file = file_in(tmp_path / "new", "solar/3", 2)
    speeds = measured(file, lambda: {"torch": sleeping(0.001), "float32": sleeping(0.0)})
    assert (list(speeds), speeds["torch"] >= 0.001) == (["torch", "float32"], True)
    assert "measured" in caplog.text
    assert list(measured(file, never).items()) == list(speeds.items())
    assert file_in(tmp_path / "new", "solar/3", 4) != file


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{}", b'{"torch": "fast"}', b'{"torch": 0}', b'{"torch": NaN}', b"\xff"]
)
def test_a_damaged_file_is_measured_again(tmp_path, damage):
    file = file_in(tmp_path, "facts")
    file.write_bytes(damage)
    speeds = measured(file, lambda: {"torch": sleeping(0.0)})
    assert measured(file, never) == speeds


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    file = file_in(tmp_path / "file" / "openvino", "facts")
    assert list(measured(file, lambda: {"torch": sleeping(0.0)})) == ["torch"]
    assert "measured at every start" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"torch": 20.0}, "torch"),
        ({"torch": 20.0, "float32": 17.1}, "torch"),
        ({"torch": 20.0, "float32": 17.0}, "float32"),
        ({"torch": 20.0, "float32": 16.0, "bfloat16": 13.7}, "float32"),
        ({"torch": 20.0, "float32": 18.0, "bfloat16": 16.9}, "bfloat16"),
        ({"float32": 16.0, "bfloat16": 13.0}, "bfloat16"),
    ],
)
def test_a_change_needs_a_gain(seconds, expected):
    assert chosen(seconds) == expected
