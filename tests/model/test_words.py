import re
from pathlib import Path

import pytest

from model.errors import DatasetError
from model.words import DEFECTIVE_WORDS, GOOD_WORDS, SPLIT_WORDS, Words

ROOT = Path(__file__).parents[2]
MEANING = Words().meaning


@pytest.mark.parametrize("word", GOOD_WORDS)
def test_words_for_good_parts_in_any_case(word):
    for name in (word, word.upper(), word.title(), word.replace(" ", "_"), f"{word}_parts"):
        assert MEANING(name).good is True, name


@pytest.mark.parametrize("word", DEFECTIVE_WORDS)
def test_words_for_defective_parts_in_any_case(word):
    for name in (word, word.upper(), word.title(), word.replace("-", ""), f"images {word}"):
        assert MEANING(name).good is False, name


@pytest.mark.parametrize(("split", "word"), [(s, w) for s, ws in SPLIT_WORDS.items() for w in ws])
def test_words_for_splits(split, word):
    for name in (word, word.upper(), f"{word}_set"):
        assert MEANING(name).split == split, name


@pytest.mark.parametrize(
    "name", ["goods", "Defects", "OKs", "N.I.O.", "i.O.", "iO", "Non_Defective", "defect-free",
             "\uff27\uff4f\uff4f\uff44", "GUT-TEILE", "Test", "VAL", "Ground Truth",
             "groundtruth", "GT", "Masken"],
)  # fmt: skip
def test_siblings_of_the_table_are_words(name):
    meaning = MEANING(name)
    assert meaning.good is not None or meaning.split or meaning.mask


@pytest.mark.parametrize(
    "name", ["scratch", "broken_large", "parts_mismatch", "defective painting", "good_cam2", "7",
             "ok_ng", "train_test", "logical_anomalies", "bolt", "metal_nut", "non", "protest",
             "validated-by", "contest"],
)  # fmt: skip
def test_other_names_are_names(name):
    assert MEANING(name).is_name


@pytest.mark.parametrize(
    "name", ["2026-11-03", "20261103", "2026_11_03", "03.11.2026", "2026-11-03_14-30", "2026-KW45"]
)
def test_dates_mean_nothing(name):
    assert MEANING(name).date


def documented(row):
    """Return the words of a row of the table in docs/quality.md; "fail(ed)" is two."""
    text = (ROOT / "docs" / "quality.md").read_text("utf-8")
    cells = re.search(rf"^\| {row}[^|]*\| ([^|]*) \|$", text, re.MULTILINE)
    words = re.split(r"[,;] ", cells[1])
    short = [re.sub(r"\(.*\)", "", word) for word in words]
    return sorted({*short, *(re.sub(r"[()]", "", word) for word in words)})


@pytest.mark.parametrize(
    ("row", "role"),
    [
        ("good", lambda m: m.good is True),
        ("defective", lambda m: m.good is False),
        ("a split", lambda m: m.split is not None),
        ("masks", lambda m: m.mask),
    ],
)
def test_the_table_in_the_documents_is_true(row, role):
    words = documented(row)
    assert len(words) >= 7
    assert [word for word in words if not role(MEANING(word))] == []


def test_compound_names_have_two_roles():
    assert (MEANING("test_good").split, MEANING("test_good").good) == ("test", True)
    assert (MEANING("NG_masks").mask, MEANING("train-OK").split) == (True, "train")


def test_names_that_are_given_come_first():
    words = Words.given(["Frei", "train"], ["ok"])
    assert words.meaning("frei").good is True
    assert (words.meaning("train").good, words.meaning("train").split) == (True, "train")
    assert words.meaning("OK").good is False
    with pytest.raises(DatasetError, match="--good and --defective both name 'a'"):
        Words.given(["A"], ["a"])


@pytest.mark.parametrize(
    ("label", "good"),
    [("OK", True), ("0", True), ("FALSE", True), ("i.O.", True), ("正常", True), ("NG", False),
     ("1", False), ("defekt", False), ("scratch", None), ("test", None), ("mask", None)],
)  # fmt: skip
def test_labels_of_lists(label, good):
    assert Words().is_good(label) is good
