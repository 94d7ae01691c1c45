"""Common folder trees: which images are for training, for testing, or refused."""

import pytest

from model.dataset import Dataset, Words, read_dataset, recognised
from model.dataset.readers.trees.tree import EMPTY, OUTSIDE
from model.errors import DatasetError
from model.images.files import DANGLING, LOOP, OTHER, SYSTEM, UNREAD


@pytest.fixture
def tree(tmp_path):
    """Make files; a name without a file makes a folder of three."""

    def make(*places: str):
        root = tmp_path / "line"
        for place in places:
            names = [""] if "." in place.rpartition("/")[2] else [f"/{n:03}.png" for n in range(3)]
            for name in names:
                path = root / f"{place}{name}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
        return root

    return make


def folders(dataset: Dataset, root):
    """Return each split's folders, with the category and kind of their images."""
    return {
        split: sorted(
            {(s.path.parent.relative_to(root).as_posix(), s.category, s.defect) for s in samples}
        )
        for split, samples in dataset.splits.items()
        if samples
    }


def read(root, good=(), defective=(), categories=None, **options):
    words = Words.given(good, defective, categories)
    return folders(read_dataset(root, categories, words=words, **options), root)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (
            ("train/OK", "test/OK", "test/NG"),
            {
                "train": [("train/OK", "line", "good")],
                "test": [("test/NG", "line", "NG"), ("test/OK", "line", "good")],
            },
        ),
        (
            ("train/good", "test/OK", "test/scratch"),
            {
                "train": [("train/good", "line", "good")],
                "test": [("test/OK", "line", "good"), ("test/scratch", "line", "scratch")],
            },
        ),
        (
            ("train/bolt/good", "train/nut/good", "test/bolt/good", "test/bolt/scratch"),
            {
                "train": [
                    ("train/bolt/good", "bolt", "good"),
                    ("train/nut/good", "nut", "good"),
                ],
                "test": [
                    ("test/bolt/good", "bolt", "good"),
                    ("test/bolt/scratch", "bolt", "scratch"),
                ],
            },
        ),
        (
            ("OK/Train", "OK/Test", "NG/Test"),
            {
                "train": [("OK/Train", "line", "good")],
                "test": [("NG/Test", "line", "NG"), ("OK/Test", "line", "good")],
            },
        ),
        (
            ("train_good", "test_good", "test_bad"),
            {
                "train": [("train_good", "line", "good")],
                "test": [("test_bad", "line", "test_bad"), ("test_good", "line", "good")],
            },
        ),
        (
            ("train/good", "test/good", "test/1", "test/2"),
            {
                "train": [("train/good", "line", "good")],
                "test": [
                    ("test/1", "line", "1"),
                    ("test/2", "line", "2"),
                    ("test/good", "line", "good"),
                ],
            },
        ),
        (
            ("good", "test/good", "test/bad"),
            {
                "train": [("good", "line", "good")],
                "test": [("test/bad", "line", "bad"), ("test/good", "line", "good")],
            },
        ),
    ],
)
def test_splits_and_labels_are_told_by_their_words(tree, places, expected):
    root = tree(*places)
    assert folders(read_dataset(root), root) == expected


def test_defects_are_tested_with_wherever_they_lie_and_validation_is_held_out(tree):
    root = tree(*(f"{s}/{k}" for s in ("train", "val", "test") for k in ("normal", "abnormal")))
    dataset = read_dataset(root)
    assert dataset.categories == ("line",)
    places = folders(dataset, root)
    assert places["train"] == [("train/normal", "line", "good")]
    assert places["held_out"] == [("val/normal", "line", "good")]
    assert [place for place, *_ in places["test"]] == [
        "test/abnormal",
        "test/normal",
        "train/abnormal",
        "val/abnormal",
    ]


@pytest.mark.parametrize(
    ("good", "bad"), [("normal", "abnormal"), ("良品", "不良"), ("Gut", "n-i-O")]
)
def test_a_plain_folder_in_any_words(tree, good, bad):
    root = tree(good, bad)
    dataset = read_dataset(root)
    assert dataset.layout == "plain"
    assert len([s for s in dataset.samples if s.is_good]) == 3
    assert [s.defect for s in dataset.test if not s.is_good] == ["defective"] * 3


def test_several_folders_of_one_meaning_are_read_together(tree):
    dataset = read_dataset(tree("good", "OK", "NG", "bad"))
    assert len(dataset.samples) == 12
    assert sum(not s.is_good for s in dataset.test) == 6


@pytest.mark.parametrize("place", ["OK/2026-11-03", "2026-11-03/OK", "OK/2026/11/03", "OK/shift 2"])
def test_sub_folders_of_good_parts_are_read(tree, place):
    root = tree(place, place.replace("OK", "NG"), "OK")
    dataset = read_dataset(root, ["line"])
    assert (dataset.categories, len(dataset.samples)) == (("line",), 9)


def test_masks_are_found_by_name_and_place(tree):
    root = tree(
        "bolt/train/good", "bolt/test/cut", "bolt/GROUND TRUTH/Cut/000_mask.png",
        "bolt/GROUND TRUTH/Cut/001/0.png", "bolt/GROUND TRUTH/Cut/001/1.png",
        "bolt/GROUND TRUTH/Cut/007_mask.png",
    )  # fmt: skip
    dataset = read_dataset(root)
    masks = {s.path.name: s.mask and s.mask.name for s in dataset.test}
    assert masks == {"000.png": "000_mask.png", "001.png": "001", "002.png": None}
    ((_, files, _),) = dataset.passed_over_by_reason()
    assert files == ["bolt/GROUND TRUTH/Cut/007_mask.png"]


def test_masks_of_the_same_name_belong_to_their_day_and_to_the_test(tree):
    days = ("2026-11-03", "2026-11-04")
    root = tree(
        "train/good", "train/NG/000.png", "test/OK",
        *(f"test/NG/{day}/000.png" for day in days),
        *(f"masks/NG/{day}/000.png" for day in days),
    )  # fmt: skip
    masks = {s.path: s.mask for s in read_dataset(root).test if not s.is_good}
    assert masks == {root / "train/NG/000.png": None} | {
        root / f"test/NG/{day}/000.png": root / f"masks/NG/{day}/000.png" for day in days
    }
    both = tree("a/train/NG/0.png", "a/test/NG/0.png", "a/test/OK", "a/gt/NG/0.png") / "a"
    by_day = {s.path.parent.parent.name: s.mask for s in read_dataset(both).test if not s.is_good}
    assert by_day == {"train": None, "test": both / "gt/NG/0.png"}


def test_masks_beside_images_are_no_images(tree):
    root = tree(
        "good", "NG/a.png", "NG/a_mask.png", "NG/b.png", "NG/c_mask.png", "good/000_mask.png"
    )
    dataset = read_dataset(root)
    defective = {s.path.name: s.mask and s.mask.name for s in dataset.test if not s.is_good}
    assert defective == {"a.png": "a_mask.png", "b.png": None}
    assert sum(s.is_good for s in dataset.samples) == 3
    ((reason, files, _),) = dataset.passed_over_by_reason()
    assert (reason.startswith("masks without an image"), files) == (True, ["NG/c_mask.png"])


def test_one_folder_of_masks_for_all_kinds_never_guesses(tree):
    root = tree(
        "good", "NG/cut/a.png", "NG/dent/a.png", "NG/dent/b.png", "masks/a.png", "masks/b.png"
    )
    dataset = read_dataset(root)
    masks = {s.path.relative_to(root).as_posix(): s.mask for s in dataset.test if not s.is_good}
    assert masks == {
        "NG/cut/a.png": None,
        "NG/dent/a.png": None,
        "NG/dent/b.png": root / "masks/b.png",
    }


@pytest.mark.parametrize(
    ("places", "says"),
    [
        (
            ("good", "scratch"),
            "'scratch' is not a known word: give --defective scratch or --good scratch",
        ),
        (("bolt/OK", "bolt/raw data", "nut/OK"), r"'raw data' is not a known word"),
        (("train/frei", "test/kratzer"), "found frei/: give --good frei or --defective frei"),
        (("train/000.png", "test/NG"), "1 images outside any folder .*give --good train"),
        (("train/good", "test/good_2", "test/NG"), "is 'good_2' good, or a kind of defect"),
        (
            ("good/A", "bad/A", "bad/B"),
            "both have A: .* --category A; if all are one, --category line",
        ),
        (("good", "bolt/good"), "is a category itself .* and has others"),
        (("a/b/good", "a/c/good"), r"2 folders deep \(a/b\).*--category b"),
        (("train/good", "good", "test/NG"), "outside the splits, beside a train split"),
        (("train/good/test", "test/NG"), "is in train/ and in test/"),
        (("good/NG",), "is in good/ and in NG/"),
    ],
)
def test_what_is_ambiguous_is_an_error_that_says_what_to_type(tree, places, says):
    with pytest.raises(DatasetError, match=says):
        read_dataset(tree(*places))


def test_good_and_defective_are_said_outright(tree):
    root = tree("frei", "kratzer", "delle")
    with pytest.raises(DatasetError, match="--good NAME and --defective NAME"):
        read_dataset(root)
    dataset = read(root, good=["Frei"], defective=["kratzer", "delle"])
    kinds = {kind for *_, kind in dataset["test"]}
    assert kinds - {"good"} == {"kratzer", "delle"}


def test_a_name_that_no_folder_has_is_refused(tree):
    with pytest.raises(DatasetError, match="has no folder named 'frie': have kratzer, ok"):
        read(tree("ok", "kratzer"), good=["frie"], defective=["kratzer"])


def test_a_kind_may_be_called_like_its_category(tree):
    root = tree("bolt/train/good", "bolt/test/bolt", "bolt/test/nut")
    assert {kind for *_, kind in read(root)["test"]} == {"bolt", "nut"}


def test_a_split_may_hold_good_parts_itself(tree):
    root = tree("train/000.png", "test/OK", "test/ng")
    assert read(root, good=["train"])["train"] == [("train", "line", "good")]


def test_a_flat_folder_is_good_where_that_is_said(tree):
    root = tree("000.png", "2026-11-03/001.png")
    with pytest.raises(DatasetError, match=r"--good \. if all images in"):
        read_dataset(root)
    for name in (".", "line"):
        assert len(read_dataset(root, words=Words.given([name])).train) == 2


def test_categories_are_said_outright(tree):
    root = tree("train/good/A", "train/good/B", "test/good/A", "test/bad/A", "test/bad/B")
    dataset = read(root, categories=["A", "B"])
    assert dataset["train"] == [("train/good/A", "A", "good"), ("train/good/B", "B", "good")]
    assert {category for _, category, _ in dataset["test"]} == {"A", "B"}
    together = read(root, categories=["line"])
    assert {category for split in together.values() for _, category, _ in split} == {"line"}


def test_a_category_may_be_called_by_a_word_of_the_table(tree):
    root = tree("test/train/good", "test/test/good", "test/test/bad", "ok/train/good")
    dataset = read(root, categories=["test", "ok"])
    assert dataset["train"] == [
        ("ok/train/good", "ok", "good"),
        ("test/train/good", "test", "good"),
    ]


def test_a_checkpoints_category_called_like_the_folder_changes_nothing(tree, tmp_path):
    root = tree("train/OK", "test/OK", "test/NG").rename(tmp_path / "test")
    dataset = read_dataset(root, ["test"])
    assert folders(dataset, root)["train"] == [("train/OK", "test", "good")]


def test_what_is_passed_over_is_listed_with_reasons(tree):
    root = tree(
        "train/good", "test/NG", "test/good", "extra/000.png", "photo.png", "notes.txt",
        "train/good/Thumbs.db", "train/NG/readme.md", "train/good/x.heic",
    )  # fmt: skip
    (root / "train/good/900.png").symlink_to(root / "nowhere.png")
    (root / "train/good/up").symlink_to(root)
    dataset = read_dataset(root)
    assert len(dataset.samples) == 9
    by_reason = {reason: files for reason, files, _ in dataset.passed_over_by_reason()}
    assert by_reason[DANGLING] == ["train/good/900.png"]
    assert {reason: len(files) for reason, files in by_reason.items()} == {
        DANGLING: 1,
        OUTSIDE: 2,
        EMPTY: 1,
        UNREAD: 1,
        SYSTEM: 1,
        LOOP: 1,
        OTHER: 2,
    }
    assert by_reason[OUTSIDE] == ["extra/000.png", "photo.png"]


def test_an_empty_folder_of_the_test_is_an_error_and_of_the_training_is_listed(tree):
    root = tree("train/OK", "test/OK", "test/NG")
    (root / "train/NG").mkdir()
    (root / "OK/2026-11-03").mkdir(parents=True)
    assert (EMPTY, "train/NG") in {
        (passed.reason, passed.path.as_posix()) for passed in read_dataset(root).passed_over
    }
    (root / "test/dent").mkdir()
    with pytest.raises(DatasetError, match=r"no images in .*dent: found nothing"):
        read_dataset(root)


def test_a_tree_of_folders_is_recognised_only_where_it_says_something(tree):
    assert recognised(tree("a/b/c")) == []
    assert recognised(tree("a/Validierung/gut")) == ["folders"]


def test_names_of_categories_are_kept(tree):
    root = tree("Zelle grün/train/OK", "Zelle grün/test/NG", "电池/train/OK")
    dataset = read_dataset(root)
    assert dataset.names["Zelle-gruen"] == "Zelle grün"
    assert sorted(dataset.names.values()) == ["Zelle grün", "电池"]
    assert len(read_dataset(root, ["电池"]).train) == 3
