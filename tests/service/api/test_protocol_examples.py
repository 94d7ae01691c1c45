"""The examples of docs/protocols.md run as they stand, but for the address and the image."""

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "protocols.md"
TEXT = DOCUMENT.read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(example, server, image, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sample = tmp_path / "samples" / "solar-mono" / "defective-1.png"
    sample.parent.mkdir(parents=True)
    sample.write_bytes(image())
    address = server.url.removeprefix("http://")
    source = example.replace("127.0.0.1:8000", address).replace('"solar-mono"', '"nut"')
    names = {}
    exec(compile(source, str(DOCUMENT), "exec"), names)
    names["client"].close()
    assert capsys.readouterr().out.strip()
