"""Tensors are read from a file only if its header is the one that the manifest implies."""

import json
import os
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoints.files import sha256
from model.checkpoints.headers import FLOATS, Tensor, exactly, read_checked, read_header
from model.errors import CheckpointError

EXPECTED = {"a": Tensor(FLOATS, (2, 3)), "b": Tensor(FLOATS, ())}
ARRAYS = {"a": np.ones((2, 3), np.float32), "b": np.ones((), np.float16)}


def write(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.safetensors"


def read(path):
    return read_checked(path, sha256(path.read_bytes()), exactly(path, EXPECTED), path.parent)


def test_a_file_that_fits_is_read(path):
    path.write_bytes(safetensors.numpy.save(ARRAYS, metadata={"made": "here"}))
    assert read(path) == path.read_bytes()
    header, size = read_header(path)
    assert header["a"] == Tensor(frozenset({"F32"}), (2, 3))
    assert size == path.stat().st_size


def entry(shape=(2, 3), dtype="F32", offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[" * 200_000, "nested"),
        (b'{"a": ' * 100_000, "nested"),
        ([], "not a JSON object"),
        ({"a": 1}, "the tensor 'a'"),
        ({"a": entry(dtype="F4")}, "type 'F4'"),
        ({"a": entry(dtype="BF16")}, "type 'BF16'"),
        ({"a": entry(dtype=["F32"])}, "the tensor 'a'"),
        ({"a": entry(shape=[10**18, 10**18])}, "the tensor 'a'"),
        ({"a": entry(shape=[-2, -3])}, "the tensor 'a'"),
        ({"a": entry(shape=[2.0, 3])}, "the tensor 'a'"),
        ({"a": entry(shape=[True, 6])}, "the tensor 'a'"),
        ({"a": entry(shape=[1] * 9)}, "the tensor 'a'"),
        ({"a": entry(shape=[10**6, 10**6])}, "its header describes 4000000000"),
        ({"a": entry(shape=[6])}, "do not fit together: 2 tensors differ"),
        ({"a": entry(dtype="I32")}, "do not fit together"),
        ({"c": entry()}, "do not fit together: 3 tensors differ"),
        (b'{"a": {"shape": [' + b"1" * 5000 + b"]}}", "5000 digits"),
    ],
)
def test_a_header_that_asks_for_too_much_or_something_else_is_refused(path, header, message):
    write(path, header, bytes(24))
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_header_longer_than_any_is_not_read(path):
    write(path, b"{}", length=2**63)
    with pytest.raises(CheckpointError, match="the header has 9223372036854775808 bytes"):
        read_header(path)


def test_a_sparse_file_of_a_terabyte_is_not_read(path):
    path.write_bytes(safetensors.numpy.save(ARRAYS))
    os.truncate(path, 2**40)
    with pytest.raises(CheckpointError, match="1099511627776 bytes, but its header describes"):
        read_header(path)


def test_where_hash_and_header_are_wrong_the_hash_is_named(path):
    path.write_bytes(safetensors.numpy.save(ARRAYS)[:-1])
    with pytest.raises(CheckpointError, match="not the file that was saved"):
        read_checked(path, "0" * 64, exactly(path, EXPECTED), path.parent)
    path.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        read_checked(path, "0" * 64, exactly(path, EXPECTED), path.parent)
    path.mkdir()
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_checked(path, "0" * 64, exactly(path, EXPECTED), path.parent)


def test_a_link_out_of_the_store_is_refused_and_one_within_is_followed(path, tmp_path):
    root = tmp_path / "store"
    root.mkdir()
    path.write_bytes(safetensors.numpy.save(ARRAYS))
    digest = sha256(path.read_bytes())
    link = root / "link.safetensors"
    link.symlink_to(path)
    with pytest.raises(CheckpointError, match="a link out of the store"):
        read_checked(link, digest, exactly(link, EXPECTED), root)
    path.rename(root / "real.safetensors")
    link.unlink()
    link.symlink_to(root / "real.safetensors")
    assert read_checked(link, digest, exactly(link, EXPECTED), root)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_raises_nothing_else(data):
    content = bytearray(safetensors.numpy.save(ARRAYS))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.safetensors"
        path.write_bytes(content)
        try:
            read(path)
        except CheckpointError as error:
            assert len(str(error)) < 1000
