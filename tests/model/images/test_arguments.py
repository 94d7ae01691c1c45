"""Files, folders and patterns on a command line, and the places of their pictures."""

from pathlib import Path

import pytest

from model.errors import ImageError
from model.images.arguments import named_images, picture_files


@pytest.fixture
def shots(tmp_path):
    for name in ("test/NG/000.png", "test/good/000.png", "test/good/001.JPG", "test/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def pictures(*arguments):
    images = named_images(arguments)
    return [p.as_posix() for p in picture_files(images, Path("out")).values()]


def test_a_folder_is_taken_with_all_below_it_and_keeps_its_folders(shots):
    images = named_images([shots / "test"])
    assert [image.path.relative_to(shots).as_posix() for image in images] == [
        "test/NG/000.png",
        "test/good/000.png",
        "test/good/001.JPG",
    ]
    assert pictures(shots / "test") == ["out/NG/000.png", "out/good/000.png", "out/good/001.png"]


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("test/*/*.png", ["out/NG/000.png", "out/good/000.png"]),
        ("test/good/*", ["out/000.png", "out/001.png"]),
        ("test/**/00[1-9]*", ["out/good/001.png"]),
    ],
)
def test_a_quoted_pattern_is_taken_as_a_shell_would(shots, pattern, files):
    assert pictures(shots / pattern) == files


def test_files_of_one_name_keep_their_folders(shots):
    names = [shots / "test/NG/000.png", shots / "test/good/000.png"]
    assert pictures(*names) == ["out/NG/000.png", "out/good/000.png"]
    assert pictures(names[0], names[0], shots / "test/good/001.JPG") == [
        "out/000.png",
        "out/001.png",
    ]


def test_two_endings_of_one_name_stay_apart(shots):
    (shots / "test/good/000.bmp").write_bytes(b"x")
    assert sorted(pictures(shots / "test/good")) == [
        "out/000.bmp.png",
        "out/000.png.png",
        "out/001.png",
    ]


def test_a_file_called_like_a_pattern_is_itself(shots):
    (shots / "a[1].png").write_bytes(b"x")
    assert [image.path.name for image in named_images([shots / "a[1].png"])] == ["a[1].png"]


def test_what_names_nothing_is_refused(shots):
    (shots / "empty").mkdir()
    with pytest.raises(ImageError, match="no images in the folder"):
        named_images([shots / "empty"])
    with pytest.raises(ImageError, match=r"no image matches .*\*\.bmp"):
        named_images([shots / "*.bmp"])
    assert named_images([shots / "gone.png"])[0].path == shots / "gone.png"


def test_no_picture_overwrites_its_image(shots):
    with pytest.raises(ImageError, match="would overwrite the image itself"):
        picture_files(named_images([shots / "test"]), shots / "test")
