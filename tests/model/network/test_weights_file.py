"""Files without weights get our error message, whatever torch reports."""

import pickle
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from model.errors import WeightsError
from model.network.weights_file import read_weights_file


class Model:
    """An object of the caller's own class."""


def whole_model(path):
    torch.save({"net": Model()}, path)


def plain_pickle(path):
    path.write_bytes(pickle.dumps({"a": Model()}))


def cut_off(path):
    torch.save({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:600])


FILES = {
    "random": (lambda path: path.write_bytes(random.Random(0).randbytes(5000)), "nothing that"),
    "text": (lambda path: path.write_text("hello\n" * 30), "but text"),
    "html": (lambda path: path.write_text("<!doctype html><html>404</html>"), "but text"),
    "umlauts": (lambda path: path.write_text("Grüße\n" * 30), "but text"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "missing": (lambda path: None, "no weights file"),
    "pickle": (plain_pickle, "something else than tensors"),
    "model": (whole_model, "was not unpickled"),
    "cut": (cut_off, "cut off or damaged"),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_file_of_weights_is_said_in_one_line(tmp_path, kind):
    make, message = FILES[kind]
    make(tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights_file(tmp_path / "x.pth")
    text = str(caught.value)
    assert "\n" not in text
    assert "weights_only" not in text
    assert len(text) < 400


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(min_size=1, max_size=300), ending=st.sampled_from([".pth", ".safetensors"])
)
def test_no_content_ends_in_anything_but_weights_or_our_error(tmp_path_factory, content, ending):
    path = tmp_path_factory.mktemp("any") / f"x{ending}"
    path.write_bytes(content)
    try:
        read_weights_file(path)
    except WeightsError as error:
        assert "\n" not in str(error)


def test_weights_are_read(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth")
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    for name in ("x.pth", "x.safetensors"):
        assert torch.equal(read_weights_file(tmp_path / name)["a"], torch.ones(2))
