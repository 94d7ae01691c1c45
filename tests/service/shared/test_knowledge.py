"""A node never applies a state that is older than it knows, or of another history."""

import json
import stat

import pytest
from sqlalchemy import create_engine, text

from service.access.keys import new_key, with_key
from service.errors import SharedStateUnavailable
from service.http.declaration import Scope
from service.shared.transfer import Source, confirm_state, import_state, last_source
from service.versions.state import State, StateUnreadable
from tests.service.shared.conftest import AUTHOR, read, record_of, routed

SHUT = "postgresql://postgres@127.0.0.1:1/none"


class Backup:
    """Copies the tables, and puts them back."""

    def __init__(self, url):
        self._engine = create_engine(url)
        self._rows = {}

    def save(self):
        with self._engine.begin() as connection:
            for table in ("mambaad_state", "mambaad_state_changes"):
                connection.execute(text(f"DROP TABLE IF EXISTS saved_{table}"))
                connection.execute(text(f"CREATE TABLE saved_{table} AS TABLE {table}"))

    def restore(self):
        with self._engine.begin() as connection:
            for table in ("mambaad_state", "mambaad_state_changes"):
                connection.execute(text(f"DELETE FROM {table}"))
                values = f"OVERRIDING SYSTEM VALUE SELECT * FROM saved_{table}"
                connection.execute(text(f"INSERT INTO {table} {values}"))

    def close(self):
        self._engine.dispose()


@pytest.fixture
def backup(state_url):
    backup = Backup(state_url)
    yield backup
    backup.close()


def version(sharing):
    return sharing.deployment.applied.place.version


def test_a_restored_backup_is_not_applied_until_an_operator_decides(first, nodes, backup):
    one, two = nodes("one"), nodes("two")
    one.deployment.commit(routed(one, "2"), record_of())
    backup.save()
    one.deployment.commit(routed(one, "3"), record_of())
    read(two)
    backup.restore()
    for sharing in (one, two):
        with pytest.raises(SharedStateUnavailable, match="an old backup was restored"):
            read(sharing)
        assert version(sharing) == 3
        assert "version 2 of the shared state, and this node knows version 3" in (
            sharing.deployment.held_because
        )
        with pytest.raises(SharedStateUnavailable, match="mambaad state confirm"):
            sharing.deployment.commit(routed(sharing, "4"), record_of())
    confirm_state(first, AUTHOR, above=3)
    for sharing in (one, two):
        read(sharing)
        assert version(sharing) == 4
        assert sharing.deployment.state.routes["bolt"].stable.version == "2"
        assert sharing.deployment.held_because is None
        actions = [entry.action for entry in sharing.deployment.audit]
        assert actions == ["state-imported", "route", "state-confirmed"]


def test_a_node_brings_the_changes_since_the_backup_back(first, nodes, backup, tmp_path):
    one, two = nodes("one"), nodes("two")
    backup.save()
    one.deployment.commit(routed(one, "2"), record_of())
    read(two)
    backup.restore()
    import_state(first, last_source(tmp_path / "one"), AUTHOR, replace=True)
    for sharing in (one, two):
        read(sharing)
        assert version(sharing) == 3
        assert sharing.deployment.state.routes["bolt"].stable.version == "2"
        actions = [entry.action for entry in sharing.deployment.audit]
        assert actions == ["state-imported", "route", "state-imported"]


def test_a_backup_that_was_changed_to_the_same_version_is_noticed(first, nodes, backup):
    one = nodes("one")
    backup.save()
    one.deployment.commit(routed(one, "2"), record_of())
    backup.restore()
    other = nodes("other")  # it has never known another state
    for number in ("7", "8"):
        other.deployment.commit(routed(other, number), record_of("Eve"))
        with pytest.raises(SharedStateUnavailable, match="does not descend from version 2"):
            read(one)
    assert one.deployment.state.routes["bolt"].stable.version == "2"


def test_another_installation_is_not_followed(first, nodes, postgresql_server):
    one = nodes("one")
    place = one.deployment.applied.place
    engine = create_engine(first._engine.url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM mambaad_state_changes"))
        connection.execute(text("DELETE FROM mambaad_state"))
    engine.dispose()
    import_state(first, Source(State(), (), ()), AUTHOR)
    with pytest.raises(SharedStateUnavailable, match="of another installation"):
        read(one)
    assert one.deployment.applied.place == place


def test_a_node_starts_from_its_last_state_while_the_postgresql_is_away(first, nodes, tmp_path):
    one = nodes("one")
    key, secret = new_key("line-3", [Scope.DETECT])
    one.deployment.change_keys(record_of(), lambda keys: with_key(keys, key))
    one.deployment.commit(routed(one, "2"), record_of())
    one.close()
    again = nodes("one", SHUT)
    assert version(again) == 3
    assert again.deployment.state.routes["bolt"].stable.version == "2"
    assert again.keys.find(secret) == key
    assert "Connection refused" in again.status().problem
    assert len(again.deployment.audit) == 3
    file = tmp_path / "one" / "shared.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in file.read_text()


def test_a_torn_line_of_the_audit_is_read_again(first, nodes, tmp_path):
    one = nodes("one")
    one.deployment.commit(routed(one, "2"), record_of())
    one.close()
    with (tmp_path / "one" / "shared-audit.jsonl").open("ab") as file:
        file.write(b'{"number": 9, "rec')
    again = nodes("one")
    again.deployment.commit(routed(again, "3"), record_of())
    assert [entry.action for entry in again.deployment.audit] == [
        "state-imported",
        "route",
        "route",
    ]
    again.close()
    assert len(nodes("one", SHUT).deployment.audit) == 3


def test_a_damaged_last_state_is_named_with_what_to_do(first, nodes, tmp_path):
    nodes("one").close()
    (tmp_path / "one" / "shared.json").write_text(json.dumps({"place": 3}))
    with pytest.raises(StateUnreadable, match=r"shared.json cannot be read or is damaged: move it"):
        nodes("one")


def test_a_full_disk_does_not_keep_a_withdrawn_key_valid(first, nodes, monkeypatch):
    one, two = nodes("one"), nodes("two")
    key, secret = new_key("line-3", [Scope.DETECT])
    one.deployment.change_keys(record_of(), lambda keys: with_key(keys, key))
    read(two)

    def refuse(_state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(two.knowledge._copy, "write_state", refuse)
    one.deployment.change_keys(record_of(), lambda keys: ())
    read(two)
    assert two.keys.find(secret) is None
    monkeypatch.undo()
    read(two)
    assert two.knowledge._copy.read_state().keys == ()
