"""The content of a folder: images at any depth, and everything else with a reason."""

import os
import time

import pytest

from model.images.files import (
    CLOSED,
    DANGLING,
    HIDDEN,
    LOOP,
    OTHER,
    SYSTEM,
    UNREAD,
    Found,
    images_in_folder,
    walk,
)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def reasons(contents: Found) -> dict[str, list[str]]:
    by_reason: dict[str, list[str]] = {}
    for passed in contents.passed_over:
        by_reason.setdefault(passed.reason, []).append(passed.path.as_posix())
    return by_reason


def test_images_of_every_ending_are_found_at_any_depth(tmp_path):
    names = [
        "a.PNG",
        "b.jfif",
        "c.pgm",
        "deep/er/d.TIFF",
        "deep/e.JPG",
        "deep/f.webp",
        "deep/g.ppm",
    ]
    for name in names:
        touch(tmp_path / name)
    contents = walk(tmp_path)
    assert [path.as_posix() for path in contents.images] == sorted(names)
    assert contents.passed_over == []
    assert list(images_in_folder(tmp_path)) == [tmp_path / name for name in names[:3]]


def test_everything_else_has_a_reason(tmp_path):
    for name in (
        ".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "._a.png", "@eaDir/a.png/SYNO.jpg",
        "__MACOSX/a.png", "$RECYCLE.BIN/a.png",
    ):  # fmt: skip
        touch(tmp_path / name)
    for name in (".hidden.png", ".cache/a.png", "notes.txt", "a.png.txt", "scan.heic", "clip.GIF"):
        touch(tmp_path / name)
    assert reasons(walk(tmp_path)) == {
        SYSTEM: [
            "$RECYCLE.BIN", ".DS_Store", "._a.png", "@eaDir", "THUMBS.DB", "Thumbs.db",
            "__MACOSX", "desktop.ini",
        ],
        HIDDEN: [".cache", ".hidden.png"],
        OTHER: ["a.png.txt", "notes.txt"],
        UNREAD: ["clip.GIF", "scan.heic"],
    }  # fmt: skip
    assert walk(tmp_path).images == []


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "store/2026/a.png")
    root = tmp_path / "line"
    root.mkdir()
    (root / "good").symlink_to(tmp_path / "store")
    (root / "good" / "again").symlink_to(tmp_path / "store")
    (root / "up").symlink_to(root)
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "itself.png").symlink_to(root / "itself.png")
    (root / "lost").symlink_to(tmp_path / "nowhere")
    contents = walk(root)
    assert [path.as_posix() for path in contents.images] == ["good/2026/a.png"]
    assert reasons(contents) == {
        LOOP: ["good/again", "up"],
        DANGLING: ["gone.png", "itself.png", "lost"],
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_closed_folder_is_listed(tmp_path):
    touch(tmp_path / "closed/a.png")
    (tmp_path / "closed").chmod(0)
    assert reasons(walk(tmp_path)) == {CLOSED: ["closed"]}
    (tmp_path / "closed").chmod(0o700)


def test_thousands_of_files_take_no_time(tmp_path):
    for number in range(3000):
        (tmp_path / f"{number:05}.png").touch()
    began = time.perf_counter()
    assert len(walk(tmp_path).images) == 3000
    assert time.perf_counter() - began < 5
