"""Keys: made once, stored as hashes, and followed as their file changes."""

import json
import logging
import stat

import pytest
from typer.testing import CliRunner

from service.access import keys
from service.access.keys import KeyRing, KeysUnusable, add_key, read_keys, remove_key
from service.cli import main as cli
from service.http.declaration import Scope

A_KEY = {"name": "a", "sha256": "0" * 64, "scopes": ["detect"]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(keys, "_RECHECK_S", 0.0)


def test_a_key_is_found_again_and_stands_nowhere(path):
    secret = add_key(path, "line-3", [Scope.DETECT], 20)
    other = add_key(path, "boss", [Scope.ADMIN, Scope.DETECT])
    ring = KeyRing(path)
    found = ring.find(secret)
    assert (found.name, found.scopes, found.rate_per_s) == ("line-3", {Scope.DETECT}, 20)
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
        KeyRing(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "wrong at the file"),
        ('{"keys": [{"name": "a"}]}', "keys.0.sha256"),
        (json.dumps({"keys": [{**A_KEY, "sha256": "0" * 63}]}), "sha256"),
        (json.dumps({"keys": [{**A_KEY, "scopes": ["root"]}]}), "scopes"),
        (json.dumps({"keys": [{**A_KEY, "scopes": []}]}), "scopes"),
        (json.dumps({"keys": [A_KEY] * 2}), "name"),
        (json.dumps({"kees": []}), "kees"),
    ],
)  # fmt: skip
def test_a_file_that_says_something_impossible_is_refused(path, content, said):
    path.write_text(content, "utf-8")
    with pytest.raises(KeysUnusable, match=said):
        read_keys(path)


def test_no_file_is_refused(path):
    with pytest.raises(KeysUnusable, match="cannot be read"):
        KeyRing(path)


def test_a_name_is_used_once(path):
    add_key(path, "a", [Scope.DETECT])
    with pytest.raises(KeysUnusable, match="already"):
        add_key(path, "a", [Scope.ADMIN])


def test_keys_come_and_go_while_the_service_runs(path, impatient):
    first = add_key(path, "a", [Scope.DETECT])
    ring = KeyRing(path)
    second = add_key(path, "b", [Scope.DETECT])
    assert ring.find(second).name == "b"
    remove_key(path, "a")
    assert ring.find(first) is None
    with pytest.raises(KeysUnusable, match="no key named 'a'"):
        remove_key(path, "a")


def test_a_broken_file_leaves_the_keys_as_they_were(path, impatient, caplog):
    secret = add_key(path, "a", [Scope.DETECT])
    ring = KeyRing(path)
    path.write_text("{", "utf-8")
    with caplog.at_level(logging.ERROR, "service"):
        assert ring.find(secret).name == "a"
        assert ring.find(secret).name == "a"
    assert [record.getMessage() for record in caplog.records] == [
        f"the keys file {path} is wrong at the file: Invalid JSON: EOF while parsing an object at "
        "line 1 column 1; the keys read before still hold"
    ]
    path.unlink()
    assert ring.find(secret).name == "a"


def test_the_file_is_not_looked_at_for_every_request(path, monkeypatch):
    secret = add_key(path, "a", [Scope.DETECT])
    ring = KeyRing(path)
    path.unlink()
    monkeypatch.setattr(KeyRing, "_stamp", lambda _: pytest.fail("looked"))
    assert ring.find(secret)


def run(*arguments):
    return CliRunner().invoke(cli.build_commands(), ["keys", *arguments])


@pytest.mark.parametrize("name", ["MAMBAAD_ACCESS__API_KEYS_FILE", "MAMBAAD_API_KEYS_FILE"])
def test_the_command_prints_a_key_once(path, monkeypatch, name):
    monkeypatch.setenv(name, str(path))
    made = run("new", "--name", "line-3", "--scope", "detect", "--rate", "5")
    assert made.exit_code == 0, made.output
    assert KeyRing(path).find(made.output.strip()).name == "line-3"
    listed = run("list").output
    assert listed.startswith("line-3  detect  5/s  2")
    assert made.output.strip() not in listed
    assert run("remove", "--name", "line-3").exit_code == 0
    assert read_keys(path) == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "--name", "a", "--scope", "detect"], "which file?"),
        (["new", "--name", "a b", "--scope", "detect", "--file", "{}"], "name"),
        (["new", "--name", "a", "--scope", "detect", "--rate", "0", "--file", "{}"], "rate_per_s"),
        (["remove", "--name", "a", "--file", "{}"], "no key named"),
        (["list", "--file", "{}"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(path, arguments, said, monkeypatch):
    monkeypatch.delenv("MAMBAAD_API_KEYS_FILE", raising=False)
    result = run(*(argument.format(path) for argument in arguments))
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert line.startswith("mambaad keys: ")
    assert said in line
    assert not path.exists()


def test_two_files_by_the_two_names_are_refused_in_a_line(path, monkeypatch):
    monkeypatch.setenv("MAMBAAD_API_KEYS_FILE", str(path))
    monkeypatch.setenv("MAMBAAD_ACCESS__API_KEYS_FILE", "other.json")
    result = run("list")
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert line.startswith("mambaad keys: MAMBAAD_ACCESS__API_KEYS_FILE is 'other.json' and ")


def test_a_folder_that_is_not_there_is_said_too(path):
    with pytest.raises(KeysUnusable, match="cannot be opened"):
        add_key(path / "below", "a", [Scope.DETECT])
