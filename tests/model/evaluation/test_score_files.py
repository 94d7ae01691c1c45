"""Scores as files, and back again to the last bit."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.errors import ConfigError, DatasetError, ModelError
from model.evaluation.counts import by_size, tallies
from model.evaluation.operation import Prices, operate
from model.evaluation.score_files import COLUMNS, read_scores, write_scores
from tests.model.evaluation.records import evaluation_of, record

DATA = Path("data")
HOSTILE = (
    "=cmd|' /C calc'!A0.png", "+1.png", "-1.png", "@sum.png", "\tx.png", "\rx.png", "\nx.png",
    "'=x.png", "a,b\"c.png", "<b>x</b>.png", "caf\udce9.png", "电池.png",
)  # fmt: skip


def some_records():
    rng = np.random.default_rng(3)
    good = [record("good", float(raw), n) for n, raw in enumerate(rng.normal(0.3, 0.15, 40))]
    bad = [
        record(kind, float(raw), n, area=float(area))
        for kind in ("crack", "dent")
        for n, (raw, area) in enumerate(zip(rng.normal(0.6, 0.2, 25), rng.random(25), strict=True))
    ]
    return good + bad


@pytest.mark.parametrize("name", ["scores.csv", "scores.json"])
def test_the_same_metrics_to_the_last_bit(tmp_path, name):
    records = some_records()
    write_scores(tmp_path / "new" / name, records, DATA)
    again = read_scores(tmp_path / "new" / name)
    assert [r.raw_score for r in again] == [r.raw_score for r in records]
    assert [r.sample.path for r in again] == [r.sample.path.relative_to("data") for r in records]
    first, second = evaluation_of(records), evaluation_of(again)
    assert second.categories == first.categories  # ranking, rates, and all intervals
    assert tallies(again) == tallies(records)
    assert by_size(again) == by_size(records)
    assert operate(again, Prices()).to_dict() == operate(records, Prices()).to_dict()


def test_the_columns_are_those_of_the_documentation(tmp_path):
    first = record("good", 0.25, 7)
    second = record("crack", 0.6, 8, area=0.125)
    write_scores(tmp_path / "a.csv", [first, second], DATA)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        list(COLUMNS),
        ["bolt/test/good/7.png", "bolt", "good", "", "0.125", "0.25", "0.5", "OK", ""],
        ["bolt/test/crack/8.png", "bolt", "defective", "crack", "0.3", "0.6", "0.5", "NG", "0.125"],
    ]
    write_scores(tmp_path / "a.json", [first, second], DATA)
    values = json.loads((tmp_path / "a.json").read_text())
    assert [list(row) for row in values] == [list(COLUMNS)] * 2
    assert (values[0]["area"], values[1]["area"]) == (None, 0.125)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_a_formula_and_every_name_comes_back(tmp_path, suffix, name):
    part = record(name.removesuffix(".png"), 0.9)
    part = replace(part, sample=replace(part.sample, path=Path("data") / name))
    file = tmp_path / f"scores{suffix}"
    write_scores(file, [part], DATA)
    (again,) = read_scores(file)
    assert (str(again.sample.path), again.sample.defect) == (name, part.sample.defect)
    if suffix == ".csv":
        text = file.read_bytes().decode("utf-8", "surrogateescape")
        for cell in list(csv.reader(text.splitlines(keepends=True)))[1]:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_an_image_elsewhere_keeps_its_path(tmp_path):
    write_scores(tmp_path / "a.csv", [record("good", 0.1, folder="/other")], DATA)
    assert str(read_scores(tmp_path / "a.csv")[0].sample.path) == "/other/bolt/test/good/0.png"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "image,score\nx,1\n"), ("a.json", "[{}]"), ("a.json", "{"), ("a.json", "[3]"),
     ("a.csv", ",".join(COLUMNS) + "\nx,bolt,good,,a,b,c,OK,\n")],
)  # fmt: skip
def test_other_content_is_one_error(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError, match="has no scores with image, category"):
        read_scores(tmp_path / name)


def test_files_of_other_kinds_and_folders_that_refuse(tmp_path):
    with pytest.raises(ConfigError, match=r"a .csv or a .json file, got 'a.xlsx'"):
        write_scores(Path("a.xlsx"), [], DATA)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot write the scores"):
        write_scores(tmp_path / "file" / "a.csv", [], DATA)
    with pytest.raises(DatasetError, match="cannot read the scores"):
        read_scores(tmp_path / "none.csv")
