"""`mambaad state` and `mambaad keys` on a PostgreSQL: there, back, and what is refused."""

import json

import pytest
from typer.testing import CliRunner

from model.checkpoints.key import CheckpointKey
from service.access.keys import add_key, read_keys
from service.cli.main import build_commands
from service.http.declaration import Scope
from service.versions.assignment import Assignment
from service.versions.state import Deployment
from tests.service.shared.conftest import record_of

COMMANDS = build_commands()


@pytest.fixture
def mambaad(postgresql_url, monkeypatch):
    monkeypatch.setenv("MAMBAAD_STATE__URL", postgresql_url)

    def run(*arguments):
        return CliRunner().invoke(COMMANDS, [*map(str, arguments)])

    return run


@pytest.fixture
def local(tmp_path):
    """The state folder and keys file of a service that shares nothing."""
    folder = tmp_path / "state"
    deployment = Deployment(folder)
    routed = deployment.state.with_route("bolt", Assignment(stable=CheckpointKey("parts", "2")))
    for number in range(3):
        deployment.commit(routed, record_of(request_id=str(number)))
    add_key(tmp_path / "keys.json", "line-3", [Scope.DETECT])
    return folder, tmp_path / "keys.json"


def test_a_local_state_goes_there_and_back(mambaad, local, tmp_path):
    state, keys = local
    assert mambaad("state", "migrate").output == "schema none -> 0001\n"
    assert mambaad("state", "migrate").output == "nothing to do: the tables have schema 0001\n"
    brought = mambaad("state", "import", "--state", state, "--keys", keys)
    assert brought.exit_code == 0, brought.output
    assert "version 1: 1 routes, 0 thresholds, 1 keys, 3 changes in the audit" in brought.stdout
    shown = mambaad("state", "show").stdout
    assert "version 1 by" in shown
    assert "  bolt: stable parts/2\n  keys: line-3\n" in shown
    back = tmp_path / "back"
    assert mambaad("state", "export", back).exit_code == 0
    exported, before = Deployment(back), Deployment(state)
    assert exported.state == before.state
    assert exported.audit[:3] == before.audit
    assert [entry.action for entry in exported.audit[3:]] == ["state-imported"]
    assert read_keys(back / "keys.json") == read_keys(keys)
    assert mambaad("state", "export", back).exit_code == 2


def test_a_state_that_is_there_is_not_replaced_unasked(mambaad, local):
    state, keys = local
    mambaad("state", "migrate")
    mambaad("state", "import", "--state", state)
    refused = mambaad("state", "import", "--state", state, "--keys", keys)
    assert refused.exit_code == 2
    assert "the PostgreSQL has a state already, version 1 by" in refused.stderr
    assert "To replace it, give --replace" in refused.stderr
    assert mambaad("keys", "list").stdout == ""
    replaced = mambaad("state", "import", "--state", state, "--keys", keys, "--replace")
    assert "version 2: 1 routes, 0 thresholds, 1 keys" in replaced.stdout
    assert mambaad("state", "confirm", "--above", "41").stdout.startswith("version 42:")


def test_keys_are_those_of_the_url_unless_a_file_is_given(mambaad, local):
    _, keys = local
    mambaad("state", "migrate")
    assert "bring one with `mambaad state import`" in (
        mambaad("keys", "new", "--name", "ada", "--scope", "admin").stderr
    )
    mambaad("state", "import", "--keys", keys)
    secret = mambaad("keys", "new", "--name", "ada", "--scope", "admin").stdout.strip()
    assert secret.startswith("mambaad_")
    again = mambaad("keys", "new", "--name", "ada", "--scope", "admin")
    assert (again.exit_code, "already a key named 'ada'" in again.stderr) == (2, True)
    names = [line.split()[0] for line in mambaad("keys", "list").stdout.splitlines()]
    assert names == ["line-3", "ada"]
    assert mambaad("keys", "list", "--file", keys).stdout.startswith("line-3")
    assert mambaad("keys", "remove", "--name", "line-3").exit_code == 0
    assert mambaad("keys", "remove", "--name", "line-3").exit_code == 2
    assert len(mambaad("keys", "list").stdout.splitlines()) == 1
    assert len(read_keys(keys)) == 1, "the file is as it was"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["state", "show"], "run `mambaad state migrate`"),
        (["state", "show", "--url", "postgresql://127.0.0.1:1/none"], "Connection refused"),
        (["state", "show", "--url", "mysql://db/x"], "begins with postgresql://"),
        (["state", "show", "--url", "postgresql://a:s3cret@db/x"], "without a password"),
        (["state", "show", "--url", "postgresql://db/x?password=s3cret"], "without a password"),
        (["state", "import", "--last", "nowhere"], "has no last state of a node"),
        (["state", "import", "--state", "nowhere"], "nowhere is not a folder"),
        (["state", "import", "--last", "x", "--state", "y"], "give neither --state nor --keys"),
        (["keys", "list", "--file", "f", "--url", "u"], "give --file or --url, not both"),
    ],
)
def test_what_cannot_be_done_is_one_line(mambaad, arguments, line):
    answer = mambaad(*arguments)
    assert answer.exit_code == 2
    assert line in answer.stderr
    assert "s3cret" not in answer.output
    assert len(answer.stderr.strip().splitlines()) == 1


def test_without_a_url_the_commands_say_so(monkeypatch):
    monkeypatch.delenv("MAMBAAD_STATE__URL", raising=False)
    answer = CliRunner().invoke(COMMANDS, ["state", "show"])
    assert answer.stderr == (
        "mambaad state: no PostgreSQL: give --url, or set MAMBAAD_STATE__URL\n"
    )


def test_a_password_in_the_variable_is_not_shown(monkeypatch):
    monkeypatch.setenv("MAMBAAD_STATE__URL", "postgresql://ada:s3cret@db/x")
    answer = CliRunner().invoke(COMMANDS, ["serve"])
    assert answer.exit_code == 2
    assert "expected a URL without a password" in answer.stderr
    assert "s3cret" not in answer.output


def test_the_audit_is_exported_as_it_was_written(mambaad, local, tmp_path):
    state, _ = local
    mambaad("state", "migrate")
    mambaad("state", "import", "--state", state)
    mambaad("state", "export", tmp_path / "back")
    before = (state / "audit.jsonl").read_bytes().splitlines()
    lines = (tmp_path / "back" / "audit.jsonl").read_bytes().splitlines()
    assert lines[:3] == before
    assert json.loads(lines[3])["caller"] == "command line"
