"""Hostile files and JSON cost no more than their bounds."""

import json
import os
import time
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.bounded import read_regular, strict_json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested more than 32 levels"),
        ("[" * 200_000 + "]" * 200_000, "nested more than 32 levels"),
        ('{"a":' * 150_000, "nested more than 32 levels"),
        ("[" * 33 + "]" * 33, "nested more than 32 levels"),
        ("[" + "0," * 250_001 + "0]", "more than 250000 values"),
        ("1" * 5000, "5000 digits"),
        ("[-" + "9" * 300_000 + "]", "300001 digits"),
        ("10000000000000000000", "20 digits, expected at most 19"),
        ("NaN", "NaN is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("1e999", "too large for a float"),
        ('{"a": 1, "b": 2, "a": 3}', "has the name 'a' twice"),
        ("{" + ",".join(f'"{n}":0' for n in range(100_000)) + ',"5":0}', "has the name '5' twice"),
        (r'["\ud800"]', "surrogates"),
        (r'{"\udfff": 0}', "surrogates"),
        (b"\xff\xfe[\x00]\x00", "utf-8"),
        ("", "Expecting value"),
        ("[1,]", "Expecting value"),
    ],
)
def test_what_no_program_writes_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        strict_json(text)


@pytest.mark.parametrize("text", ["[],", "{},", '"a",', "1e5,", "[[[[]]]],"])
def test_the_largest_texts_take_bounded_memory_and_time(text):
    content = f"[{text * (2**23 // len(text))}0]"
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(ValueError, match="values"):
        strict_json(content)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert time.process_time() - started < 5


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_other_json_is_read_as_json_reads_it(values):
    assert strict_json(json.dumps(values)) == values
    assert strict_json(json.dumps(values, ensure_ascii=False).encode()) == values


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='[]{}":,0123456789.eE+-\\udtrfals n', max_size=60))
def test_other_bytes_raise_nothing_else(content):
    with suppress(ValueError):
        strict_json(content)


def test_only_a_regular_file_within_the_bound_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    content, status = read_regular(path, 3)
    assert (content, status.st_size) == (b"abc", 3)
    with pytest.raises(OSError, match="larger than 2 bytes"):
        read_regular(path, 2)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path, tmp_path / "none"):
        with pytest.raises(OSError):
            read_regular(other, 100)
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(tmp_path / "pipe", 100)
    os.truncate(path, 2**40)  # a sparse terabyte
    with pytest.raises(OSError, match="larger than 1000 bytes"):
        read_regular(path, 1000)
