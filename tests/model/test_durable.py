import os
import stat

import pytest

from model.durable import append_durably, rename_if_free, replace_file, write_durably

FULL = OSError(28, "No space left on device")


def refuse(*_):
    raise FULL


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("write", [write_durably, replace_file])
def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path, write):
    write(tmp_path / "a", b"first")
    write(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"second"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("write", [write_durably, replace_file])
def test_a_disk_that_refuses_leaves_the_old_file(tmp_path, monkeypatch, write):
    write(tmp_path / "a", b"first")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch):
    seen, fsync = [], os.fsync

    def synced(descriptor):
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), names(tmp_path)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    write_durably(tmp_path / "a", b"x")
    assert [folder for folder, _ in seen] == [False, True]
    assert seen[1][1] == ["a"]


def test_a_new_file_has_the_mode_that_was_asked_for(tmp_path):
    write_durably(tmp_path / "a", b"secret", 0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_line_can_be_taken_back_and_is_when_the_disk_refuses(tmp_path, monkeypatch):
    path = tmp_path / "log"
    append_durably(path, b"one\n")
    take_back = append_durably(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    take_back()
    assert path.read_bytes() == b"one\n"
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        append_durably(path, b"three\n")
    assert path.read_bytes() == b"one\n"


def test_a_name_that_is_taken_is_not_taken_over(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert rename_if_free(tmp_path / "first", tmp_path / "1")
    assert not rename_if_free(tmp_path / "second", tmp_path / "1")
    assert (tmp_path / "1" / "file").read_text() == "first"
