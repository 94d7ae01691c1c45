"""A file is complete, durable and what was put, or the view says that there is none."""

import errno
import hashlib
import logging
import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.archive.media import MAP_SUFFIX, Media, MediaAltered, MediaGone
from service.archive.media.folder import MediaFile, Stray
from service.archive.records import MediaState
from service.telemetry.metrics.media import MediaMetrics

DAY, NEXT_DAY = date(2026, 11, 29), date(2026, 11, 30)
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 1000


@pytest.fixture
def media(tmp_path):
    return Media(tmp_path / "archive" / "media", min_free_bytes=0)


def names(media):
    return sorted(path.name for path in media.folder.rglob("*") if not path.is_dir())


@contextmanager
def files_limited_to(nbytes):
    """No file may grow beyond this size: a real write fails in the middle."""
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_is_named_by_its_hash_and_read_again(media):
    sha256, state = media.put(PNG, DAY)
    assert (sha256, state) == (hashlib.sha256(PNG).hexdigest(), MediaState.KEPT)
    path = media.folder / "2026-11-29" / sha256[:2] / f"{sha256}.png"
    assert media.find(sha256, DAY) == media.path(sha256, DAY, "png") == path
    assert media.read(sha256, DAY) == media.read(sha256, DAY, "png") == path.read_bytes() == PNG
    for day, suffix in ((DAY, MAP_SUFFIX), (NEXT_DAY, None)):
        with pytest.raises(MediaGone, match="is not there"):
            media.read(sha256, day, suffix)


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (PNG, "png"),
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b"II*\0", "tif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"P5 1 1 255 x", "ppm"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "bmp"),
        (b"no picture at all", "bin"),
        (b"", "bin"),
    ],
)
def test_the_content_decides_the_suffix(media, content, suffix):
    sha256, state = media.put(content, DAY)
    assert state is MediaState.KEPT
    assert media.find(sha256, DAY).name == f"{sha256}.{suffix}"
    assert media.read(sha256, DAY) == content


def test_an_image_and_a_map_of_the_same_content_are_two_files(media):
    image, _ = media.put(PNG, DAY)
    raw_map, _ = media.put(PNG, DAY, MAP_SUFFIX)
    assert names(media) == [f"{image}.map.png", f"{image}.png"]
    media.release(image, DAY)
    media.release(raw_map, DAY)
    assert media.delete(raw_map, DAY, MAP_SUFFIX) == len(PNG)
    assert media.read(image, DAY) == PNG


def test_the_same_content_is_written_once_by_many_threads(media):
    with ThreadPoolExecutor(8) as threads:
        put = list(threads.map(lambda _: media.put(PNG, DAY), range(40)))
    assert len(set(put)) == 1
    assert media.bytes_in_use == len(PNG) == media.count()
    assert names(media) == [f"{put[0][0]}.png"]


def test_an_altered_file_is_never_returned_and_is_written_again(media):
    sha256, _ = media.put(PNG, DAY)
    media.find(sha256, DAY).write_bytes(PNG.replace(b"pixels", b"slexip"))
    with pytest.raises(MediaAltered, match=rf"{sha256}.*was altered"):
        media.read(sha256, DAY)
    assert media.put(PNG, DAY) == (sha256, MediaState.KEPT)
    assert media.read(sha256, DAY) == PNG


def test_links_are_not_followed(media, tmp_path):
    sha256, _ = media.put(PNG, DAY)
    path = media.find(sha256, DAY)
    elsewhere = tmp_path / path.name
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(MediaAltered, match="cannot be read"):
        media.read(sha256, DAY)
    assert [file for file in media.files() if isinstance(file, MediaFile)] == []
    media.delete(sha256, DAY)
    assert elsewhere.read_bytes() == PNG


def test_a_pipe_is_not_waited_for(media):
    sha256, _ = media.put(PNG, DAY)
    path = media.find(sha256, DAY)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MediaAltered, match="cannot be read"):
        media.read(sha256, DAY)


def test_a_folder_that_is_a_link_is_neither_written_nor_emptied(media, tmp_path):
    sha256, _ = media.put(PNG, DAY)
    elsewhere = tmp_path / "elsewhere"
    (media.folder / "2026-11-29").rename(elsewhere)
    (media.folder / "2026-11-29").symlink_to(elsewhere)
    fresh = Media(media.folder, min_free_bytes=0)
    assert fresh.put(b"other", DAY)[1] is MediaState.NO_SPACE
    with pytest.raises(OSError, match="is a link"):
        fresh.delete(sha256, DAY)
    assert fresh.count() == 0
    assert [path.name for path in elsewhere.rglob("*.*")] == [f"{sha256}.png"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("step", ["mkdir", "open", "fsync", "replace", "folders", "folder"])
def test_a_disk_that_refuses_is_no_space_and_leaves_nothing(media, monkeypatch, step, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    where, name = {
        "mkdir": (Path, "mkdir"),
        "open": (os, "open"),
        "fsync": (os, "fsync"),
        "replace": (Path, "replace"),
        "folders": ("service.archive.media.files.sync_folder", None),
        "folder": ("model.durable.sync_folder", None),
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(where, *([name, refuse] if name else [refuse]))
        sha256, state = media.put(PNG, DAY)
    assert (sha256, state) == (hashlib.sha256(PNG).hexdigest(), MediaState.NO_SPACE)
    assert names(media) == []
    assert media.bytes_in_use == 0
    assert media.put(PNG, DAY) == (sha256, MediaState.KEPT)
    assert media.count() == len(PNG)


def test_a_write_that_ends_in_the_middle_leaves_nothing(media):
    with files_limited_to(1000):
        assert media.put(PNG, DAY)[1] is MediaState.NO_SPACE
    assert names(media) == []
    assert media.put(PNG, DAY)[1] is MediaState.KEPT


def test_below_the_floor_of_free_space_nothing_is_written(tmp_path, caplog):
    metrics = MediaMetrics(CollectorRegistry())
    media = Media(tmp_path / "media", min_free_bytes=2**62, metrics=metrics)
    assert media.put(PNG, DAY)[1] is MediaState.NO_SPACE
    assert not media.folder.exists()
    assert metrics.media_not_written.labels("floor")._value.get() == 1
    assert metrics.media_free_bytes._value.get() > 0


def test_errors_are_logged_once_a_minute(media, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with caplog.at_level(logging.ERROR, "service"):
        for number in range(5):
            media.put(b"content %d" % number, DAY)
    (line,) = caplog.messages
    assert "cannot be written" in line
    assert "Input/output error" in line


def test_a_day_removed_by_hand_is_made_again(media):
    sha256, _ = media.put(PNG, DAY)
    media.find(sha256, DAY).unlink()
    (media.folder / "2026-11-29" / sha256[:2]).rmdir()
    (media.folder / "2026-11-29").rmdir()
    with pytest.raises(MediaGone):
        media.read(sha256, DAY)
    assert media.put(PNG, DAY)[1] is MediaState.KEPT
    assert media.read(sha256, DAY) == PNG


def test_a_file_whose_row_may_not_be_committed_is_not_deleted(media):
    sha256, _ = media.put(PNG, DAY)
    media.put(PNG, DAY)  # by another inspection
    assert media.delete(sha256, DAY) is None
    media.release(sha256, DAY)
    assert media.delete(sha256, DAY) is None
    media.release(sha256, DAY)
    assert media.delete(sha256, DAY, is_kept=lambda: True) is None
    assert media.delete(sha256, DAY) == len(PNG)
    assert media.delete(sha256, DAY) is None
    assert media.bytes_in_use == 0


def test_a_put_waits_while_somebody_asks_whether_to_delete(media):
    """A row that is committed before the question is seen; one after it has a new file."""
    sha256, _ = media.put(PNG, DAY)
    media.release(sha256, DAY)
    has_asked, states = threading.Event(), []

    def is_kept():
        has_asked.set()
        time.sleep(0.05)
        assert not states
        return False

    def put():
        has_asked.wait(10)
        states.append(media.put(PNG, DAY)[1])

    thread = threading.Thread(target=put)
    thread.start()
    assert media.delete(sha256, DAY, is_kept=is_kept) == len(PNG)
    thread.join(10)
    assert states == [MediaState.KEPT]
    assert media.read(sha256, DAY) == PNG


def test_the_count_is_exact_while_files_come(media):
    def put(number):
        media.put(b"%d" % number * 100, DAY)

    with ThreadPoolExecutor(4) as threads:
        puts = threads.map(put, range(400))
        while media.bytes_in_use < 20_000:
            media.count()
        list(puts)
    on_disk = sum(path.stat().st_size for path in media.folder.rglob("*.bin"))
    assert media.bytes_in_use == on_disk == media.count()


def test_a_count_removes_what_a_killed_put_has_left(media):
    sha256, _ = media.put(PNG, DAY)
    staged = media.find(sha256, DAY).with_name(f".{sha256}.png.0123456789abcdef")
    staged.write_bytes(PNG[:100])
    other = media.folder / "notes.txt"
    other.write_text("not ours")
    assert [file for file in media.files() if isinstance(file, Stray)] == [
        Stray(staged, media.find(sha256, DAY)),
        Stray(other),
    ]
    assert media.count() == len(PNG)
    assert not staged.exists()
    assert other.exists()
