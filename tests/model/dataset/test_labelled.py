"""Folders of only good parts, or of only defective ones."""

import pytest

from model.dataset import defective_parts, good_parts
from model.errors import DatasetError


@pytest.fixture
def folder(tmp_path):
    def make(*names: str):
        for name in names:
            (tmp_path / "shots" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "shots" / name).write_bytes(b"x")
        return tmp_path / "shots"

    return make


@pytest.mark.parametrize(
    "names",
    [("0.png", "1.jfif"), ("OK/0.png", "gut/1.png", "NG/2.png"), ("2026-11-03/0.png", "1.PGM")],
)
def test_good_parts_lie_in_the_folder_or_in_one_called_so(folder, names):
    samples = good_parts(folder(*names, ".hidden.png", "Thumbs.db"), "bolt")
    assert sorted(s.path.stem for s in samples) == ["0", "1"]
    assert all(s.is_good and s.category == "bolt" for s in samples)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("train/good/0.png", "test/NG/0.png"), "has a split"),
        (("NG/0.png",), "no images in .*found NG/"),
        (("nut/0.png",), r"has subfolders with unknown names \(nut/\)"),
        (("notes.txt",), "no images in"),
    ],
)
def test_folders_that_may_hold_anything_are_refused(folder, names, says):
    with pytest.raises(DatasetError, match=says):
        good_parts(folder(*names), "bolt")


def test_defective_parts_are_of_the_kinds_of_their_folders(folder):
    samples = defective_parts(
        folder("0.png", "cut/1.png", "NG/2.png", "cut/2026-11-03/3.png"), "bolt"
    )
    kinds = {s.path.stem: s.defect for s in samples}
    assert kinds == {"0": "defective", "1": "cut", "2": "defective", "3": "cut"}
    with pytest.raises(DatasetError, match="has a folder 'OK' of good parts: give only defective"):
        defective_parts(folder("OK/4.png"), "bolt")
    with pytest.raises(DatasetError, match="no defective examples"):
        defective_parts(folder() / "none", "bolt")
