"""Keys are made once, stored as hashes, and reloaded when their file changes."""

import json
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from service.access.key_ring import KeyRing
from service.access.keys import ApiKey, KeysUnusable, add_key, read_keys
from service.cli import main as cli
from service.http.declaration import Scope

A_KEY = {"name": "a", "sha256": "0" * 64, "scopes": ["detect"]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def test_a_key_is_found_again_and_stands_nowhere(path):
    secret = add_key(path, "line-3", [Scope.DETECT], 20)
    other = add_key(path, "boss", [Scope.ADMIN, Scope.DETECT])
    ring = KeyRing(path, 900)
    ring_key = ring.find(secret)
    assert (ring_key.name, ring_key.scopes, ring_key.rate_per_s) == ("line-3", {Scope.DETECT}, 20)
    assert ring.find(other).scopes == {Scope.ADMIN, Scope.DETECT}
    assert ring.find(secret[:-1]) is None
    assert ring.find("") is None
    assert ring.find("\udcff\0" * 10_000) is None
    assert secret.removeprefix("mambaad_") not in path.read_text("utf-8")
    assert len(secret) > 40


def test_only_the_owner_can_read_the_file(path):
    add_key(path, "a", [Scope.DETECT])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lock = path.parent / ".keys.json.lock"
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert {p.name for p in path.parent.iterdir()} == {"keys.json", lock.name}


def test_a_file_that_others_may_write_is_refused(path):
    add_key(path, "a", [Scope.DETECT])
    path.chmod(0o620)
    with pytest.raises(KeysUnusable, match="others may write"):
        KeyRing(path, 900)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "invalid at the file"),
        ('{"keys": [{"name": "a"}]}', "keys.0.sha256"),
        (json.dumps({"keys": [{**A_KEY, "sha256": "0" * 63}]}), "sha256"),
        (json.dumps({"keys": [{**A_KEY, "scopes": ["root"]}]}), "scopes"),
        (json.dumps({"keys": [{**A_KEY, "scopes": []}]}), "scopes"),
        (json.dumps({"keys": [A_KEY] * 2}), "name"),
        (json.dumps({"kees": []}), "keys: Field required"),
        ("{}", "keys: Field required"),
        ("", "EOF"),
        ("[" * 200_000, "recursion limit"),
        ('{"keys": ' + "[" * 200_000, "recursion limit"),
        (json.dumps({"keys": [0] * 300_000}), "keys.0"),
        (json.dumps({"keys": [{**A_KEY, "rate_per_s": 1e300}]}), "less than"),
        (json.dumps({"keys": [{**A_KEY, "rate_per_s": float("inf")}]}), "less than"),
        (json.dumps({"keys": [{**A_KEY, "rate_per_s": float("nan")}]}), "rate_per_s"),
        ('{"keys": [{"rate_per_s": ' + "1" * 5000, "number out of range"),
        (json.dumps({"keys": [A_KEY]}) + " " * 2**20, "larger than 1048576 bytes"),
        (json.dumps({"keys": [{**A_KEY, "name": "a\0"}]}), "name"),
    ],
)  # fmt: skip
def test_a_file_that_says_something_impossible_is_refused(path, content, message):
    path.write_text(content, "utf-8")
    with pytest.raises(KeysUnusable, match=message):
        read_keys(path)


def test_more_keys_than_a_file_may_hold_are_refused(path):
    rows = [{**A_KEY, "name": f"k{n}", "sha256": f"{n:064x}"} for n in range(4097)]
    path.write_text(json.dumps({"keys": rows}, separators=(",", ":")), "utf-8")
    with pytest.raises(KeysUnusable, match="at most 4096 items"):
        read_keys(path)


def test_a_pipe_or_a_folder_is_no_keys_file_and_nobody_waits_for_it(path):
    os.mkfifo(path)
    with pytest.raises(KeysUnusable, match="not a regular file"):
        read_keys(path)
    with pytest.raises(KeysUnusable):
        read_keys(path.parent)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda values: json.dumps({"keys": values}).encode()))
def test_whatever_the_file_holds_it_is_keys_or_unusable(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.json"
        path.write_bytes(content)
        try:
            keys = read_keys(path)
        except KeysUnusable as error:
            assert len(str(error)) < 2000
        else:
            assert all(isinstance(key, ApiKey) for key in keys)


def test_no_file_is_refused(path):
    with pytest.raises(KeysUnusable, match="cannot be read"):
        KeyRing(path, 900)


def test_a_name_is_used_once(path):
    add_key(path, "a", [Scope.DETECT])
    with pytest.raises(KeysUnusable, match="already"):
        add_key(path, "a", [Scope.ADMIN])


def run(*arguments):
    return CliRunner().invoke(cli.build_commands(), ["keys", *arguments])


@pytest.mark.parametrize("name", ["MAMBAAD_ACCESS__API_KEYS_FILE", "MAMBAAD_API_KEYS_FILE"])
def test_the_command_prints_a_key_once(path, monkeypatch, name):
    monkeypatch.setenv(name, str(path))
    made = run("new", "--name", "line-3", "--scope", "detect", "--rate", "5")
    assert made.exit_code == 0, made.output
    assert KeyRing(path, 900).find(made.output.strip()).name == "line-3"
    listed = run("list").output
    assert listed.startswith("line-3  detect  5/s  2")
    assert made.output.strip() not in listed
    assert run("remove", "--name", "line-3").exit_code == 0
    assert read_keys(path) == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "--name", "a", "--scope", "detect"], "no keys file"),
        (["new", "--name", "a b", "--scope", "detect", "--file", "{}"], "name"),
        (["new", "--name", "a", "--scope", "detect", "--rate", "0", "--file", "{}"], "rate_per_s"),
        (["remove", "--name", "a", "--file", "{}"], "no key named"),
        (["list", "--file", "{}"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(path, arguments, message, monkeypatch):
    monkeypatch.delenv("MAMBAAD_API_KEYS_FILE", raising=False)
    result = run(*(argument.format(path) for argument in arguments))
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert line.startswith("mambaad keys: ")
    assert message in line
    assert not path.exists()


def test_two_files_by_the_two_names_are_refused_in_a_line(path, monkeypatch):
    monkeypatch.setenv("MAMBAAD_API_KEYS_FILE", str(path))
    monkeypatch.setenv("MAMBAAD_ACCESS__API_KEYS_FILE", "other.json")
    result = run("list")
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert line.startswith("mambaad keys: MAMBAAD_ACCESS__API_KEYS_FILE is 'other.json', but ")


def test_a_folder_that_is_not_there_is_said_too(path):
    with pytest.raises(KeysUnusable, match="cannot be opened"):
        add_key(path / "below", "a", [Scope.DETECT])
