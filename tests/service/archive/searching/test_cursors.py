"""Cursors: only the service makes them, and each belongs to one search."""

import base64
import os
import stat

import pytest

from service.archive.identifiers import new_id
from service.archive.searching.cursors import Cursors, read_key
from service.archive.searching.search import Filter, Position
from service.errors import InvalidCursor
from tests.service.archive.conftest import BEGIN

QUERY = Filter(station="EL-3").text
POSITION = Position(BEGIN, new_id())


@pytest.fixture
def cursors():
    return Cursors(b"k" * 32)


def test_a_cursor_is_read_back(cursors):
    assert cursors.read(cursors.write(POSITION, QUERY), QUERY) == POSITION


def test_a_cursor_of_another_search_is_refused(cursors):
    text = cursors.write(POSITION, QUERY)
    with pytest.raises(InvalidCursor, match="belongs to another search: send it with the filters"):
        cursors.read(text, Filter(station="EL-4").text)


def test_every_changed_character_is_a_forgery(cursors):
    text = cursors.write(POSITION, QUERY)
    for place, character in enumerate(text):
        forged = text[:place] + ("A" if character != "A" else "B") + text[place + 1 :]
        if base64.urlsafe_b64decode(forged) != base64.urlsafe_b64decode(text):
            with pytest.raises(InvalidCursor, match="did not make the cursor"):
                cursors.read(forged, QUERY)


@pytest.mark.parametrize("text", ["", "A", "0" * 64, "x" * 10_000, "😀", "=", "A" * 65, "../../x"])
def test_an_invalid_cursor_is_refused(cursors, text):
    with pytest.raises(InvalidCursor, match="leave `cursor` out to begin at the newest"):
        cursors.read(text, QUERY)


def test_a_cursor_of_another_key_is_refused(cursors):
    with pytest.raises(InvalidCursor):
        cursors.read(Cursors(b"other" * 8).write(POSITION, QUERY), QUERY)


def test_filters_with_equal_values_have_the_same_query():
    assert Filter(station="a", since=BEGIN).text == Filter(since=BEGIN, station="a").text
    different = [Filter(), Filter(station="a"), Filter(category="a"), Filter(is_held=False)]
    assert len({wanted.text for wanted in different}) == len(different)


def test_the_key_survives_a_restart_and_nobody_else_reads_it(tmp_path):
    key = read_key(tmp_path)
    assert (len(key), read_key(tmp_path)) == (32, key)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_damaged_key_is_made_anew(tmp_path, caplog):
    key = read_key(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(key[:5])
    assert len(read_key(tmp_path)) == 32
    assert "has 5 bytes instead of 32" in caplog.text


def test_where_the_folder_cannot_be_written_the_key_is_for_this_process(tmp_path, caplog):
    folder = tmp_path / "gone"
    assert read_key(folder) != read_key(folder)
    assert "cursors end with this process" in caplog.text
    assert not os.path.lexists(folder)
