"""The comparison of decoders: all decoders give the same pixels."""

import json

import numpy as np
import pytest

from benchmarks import codecs


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(codecs, "SIZES", {0.3: (64, 48)})


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_decoder_gives_the_image(kind, mode):
    picture = codecs.mosaic(64, 48).convert(mode)
    content = codecs.encode(picture, kind)
    decoders = codecs.decoders(kind)
    assert next(iter(decoders)) == "pillow"
    for decode in decoders.values():
        decoded = decode(content, mode)
        assert (decoded.mode, decoded.size) == (mode, (64, 48))
        tolerance = 0 if kind == "PNG" else 40
        difference = np.asarray(decoded).astype(int) - np.asarray(picture)
        assert np.abs(difference).max() <= tolerance


def test_the_result_is_written(tmp_path, capsys):
    codecs.main(repeats=1, megapixels=[0.3], json_file=tmp_path / "codecs.json")
    result = json.loads((tmp_path / "codecs.json").read_text())
    assert {row["format"] for row in result["decoders"]} == {"JPEG", "PNG"}
    assert {row["mode"] for row in result["decoders"]} == {"RGB", "L"}
    assert all(row["ready_ms"] > 0 for row in result["decoders"] + result["resizes"])
    assert result["resizes"][0]["max_difference"] == 0
    assert all(row["encode_ms"] > 0 and row["bytes"] > 0 for row in result["encoders"])
    assert "pillow" in capsys.readouterr().out
