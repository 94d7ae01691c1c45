"""Tables from spreadsheets, and lists written on Windows."""

import json
import os

import pytest

from model.dataset import Words, read_dataset
from model.errors import DatasetError

ROWS = [
    ("image", "label", "category", "split"),
    ("shots/grün.png", "gut", "Zelle 1", "train"),
    ("shots/b.png", "n.i.O.", "Zelle 1", "test"),
    ("shots/c, d.png", "i.O.", "Zelle 1", "test"),
]


def cells(separator, line_end="\r\n"):
    quoted = [[f'"{cell}"' if separator in cell else cell for cell in row] for row in ROWS]
    return line_end.join(separator.join(row) for row in quoted) + line_end


@pytest.fixture
def shots(tmp_path):
    (tmp_path / "shots").mkdir()
    for name in ("grün.png", "b.png", "c, d.png"):
        (tmp_path / "shots" / name).write_bytes(b"x")
    return tmp_path


def found_in(path):
    dataset = read_dataset(path)
    assert dataset.categories == ("Zelle-1",)
    return (
        [s.path.name for s in dataset.train],
        [(s.path.name, s.defect) for s in dataset.test],
    )


EXPECTED = (["grün.png"], [("b.png", "defective"), ("c, d.png", "good")])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_excels_tables_are_read(shots, separator, encoding):
    (shots / "teile.csv").write_bytes(cells(separator).encode(encoding))
    assert found_in(shots / "teile.csv") == EXPECTED


def test_empty_rows_and_columns_and_excels_own_line_do_not_matter(shots):
    text = "sep=;\r\n" + cells(";").replace("\r\n", ";;\r\n") + ";;;;;\r\n\r\n"
    (shots / "manifest.csv").write_bytes(text.encode())
    assert found_in(shots) == EXPECTED


def test_headings_in_capitals_and_a_tab_file(shots):
    text = cells("\t").replace("image", "Image").replace("label", "LABEL")
    (shots / "teile.tsv").write_text(text, "utf-8")
    assert found_in(shots / "teile.tsv") == EXPECTED


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (cells(";").encode("utf-16-le"), "has zero bytes.*save it as CSV UTF-8"),
        (b"a.png;good\r\n", r"line 1: unknown column a\.png, good: expected image, label"),
        (b"sep=;\r\nbild;label\r\n", "line 2: unknown column bild: expected image"),
        (b"image;label\r\na.png;good;x\r\n", "line 2: 3 columns, but the heading has 2"),
        (b"", "lists no images"),
    ],
)
def test_what_cannot_be_read_says_what_to_change(tmp_path, content, says):
    (tmp_path / "teile.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=says):
        read_dataset(tmp_path / "teile.csv")


@pytest.mark.parametrize("name", ["teile.xlsx", "teile.XLS", "teile.ods"])
def test_a_spreadsheets_own_file_is_refused_with_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(DatasetError, match="save the table as CSV"):
        read_dataset(tmp_path / name)


def test_backslashes_are_separators_where_nothing_else_is_found(tmp_path):
    def entry(image, anomaly=0, mask=""):
        return {"img_path": image, "mask_path": mask, "cls_name": "cell",
                "specie_name": "crack" if anomaly else "", "anomaly": anomaly}  # fmt: skip

    for name in ("train/good/0.png", "test/crack/0.png", "ground_truth/crack/0.png"):
        (tmp_path / "cell" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cell" / name).write_bytes(b"x")
    test = entry("cell\\test\\crack\\0.png", 1, "cell\\ground_truth\\crack\\0.png")
    meta = {"train": {"cell": [entry("cell\\train\\good\\0.png")]}, "test": {"cell": [test]}}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    dataset = read_dataset(tmp_path)
    assert dataset.train[0].path == tmp_path / "cell/train/good/0.png"
    assert dataset.test[0].mask == tmp_path / "cell/ground_truth/crack/0.png"

    (tmp_path / "list.csv").write_text(
        "image,label\ncell\\train\\good\\0.png,good\nodd\\1.png,ok\n"
    )
    (tmp_path / "odd\\1.png").write_bytes(b"x")  # a backslash is valid in a name here
    names = [s.path.name for s in read_dataset(tmp_path / "list.csv").train]
    assert names == ["0.png", "odd\\1.png"]


def test_names_in_an_older_programs_bytes_are_found(tmp_path):
    (tmp_path / os.fsdecode(b"gr\xfcn.png")).write_bytes(b"x")
    (tmp_path / "list.csv").write_bytes("image,label\ngrün.png,gut\n".encode("cp1252"))
    assert len(read_dataset(tmp_path / "list.csv").train) == 1


def test_a_name_longer_than_the_disk_takes_is_not_there(tmp_path):
    (tmp_path / "list.csv").write_text(f"image,label\n{'x' * 300}.png,good\n")
    with pytest.raises((DatasetError, OSError), match="do not exist"):
        read_dataset(tmp_path / "list.csv")


def test_labels_that_are_given_count_in_lists(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"x")
    (tmp_path / "list.csv").write_text("image,label\na.png,frei\nb.png,kratzer\n")
    dataset = read_dataset(tmp_path / "list.csv", words=Words.given(["frei"], ["kratzer"]))
    assert [s.path.name for s in dataset.train] == ["a.png"]
    assert [s.defect for s in dataset.test] == ["kratzer"]
