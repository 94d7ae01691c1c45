"""A change is a compare-and-set on the version; all nodes get to the same state and audit."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from service.access.keys import KeysUnusable, new_key, with_key, without_key
from service.errors import Conflict, SharedStateUnavailable
from service.http.declaration import Scope
from service.versions.state import StateUnreadable
from tests.service.delivery.proxy import CuttingProxy
from tests.service.shared.conftest import read, record_of, routed

SHUT = "postgresql://postgres@127.0.0.1:1/none"


def version(sharing):
    return sharing.deployment.applied.place.version


def test_a_change_on_one_node_is_the_state_of_the_other(first, nodes):
    one, two = nodes("one"), nodes("two")
    one.deployment.commit(routed(one, "2"), record_of())
    assert (version(one), version(two)) == (2, 1)
    read(two)
    assert version(two) == 2
    assert two.deployment.state == one.deployment.state == routed(one, "2")
    assert [entry.action for entry in two.deployment.audit] == ["state-imported", "route"]
    assert two.deployment.audit == one.deployment.audit
    assert (two.deployment.applied.who, two.deployment.applied.node) == ("Ada", "one")


def test_of_changes_at_once_exactly_one_wins(first, nodes):
    sharings = [nodes(name) for name in ("one", "two", "three", "four")]
    start = threading.Barrier(len(sharings))

    def change(sharing, number):
        start.wait()
        try:
            sharing.deployment.commit(routed(sharing, str(number)), record_of(f"who-{number}"))
        except Conflict as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(sharings)) as threads:
        outcomes = list(threads.map(change, sharings, range(1, 5)))
    (winner,) = [place for place, outcome in enumerate(outcomes) if outcome is None]
    for sharing, outcome in zip(sharings, outcomes, strict=True):
        if outcome is not None:
            assert f"who-{winner + 1} has changed the shared state on" in outcome
            assert "it has version 2, and this change was made for version 1" in outcome
        read(sharing)
        assert sharing.deployment.state.routes["bolt"].stable.version == str(winner + 1)
        assert len(sharing.deployment.audit) == 2
        assert sharing.deployment.knowledge.refused == []


def test_the_loser_may_change_the_state_as_it_is_now(first, nodes):
    one, two = nodes("one"), nodes("two")
    one.deployment.commit(routed(one, "2"), record_of())
    with pytest.raises(Conflict):
        two.deployment.commit(routed(two, "3", "nut"), record_of())
    read(two)
    two.deployment.commit(routed(two, "3", "nut"), record_of())
    read(one)
    assert set(one.deployment.state.routes) == {"bolt", "nut"}


def test_a_key_that_is_withdrawn_on_one_node_is_gone_on_the_other(first, nodes):
    one, two = nodes("one"), nodes("two")
    key, secret = new_key("line-3", [Scope.DETECT])
    one.deployment.change_keys(record_of(), lambda keys: with_key(keys, key))
    assert one.keys.find(secret).name == "line-3"
    assert version(one) == 2
    assert two.keys.find(secret) is None
    read(two)
    assert two.keys.find(secret) == key
    with pytest.raises(KeysUnusable, match="already a key named"):
        two.deployment.change_keys(record_of(), lambda keys: with_key(keys, key))
    two.deployment.change_keys(record_of(), lambda keys: without_key(keys, "line-3"))
    read(one)
    assert one.keys.find(secret) is None
    assert version(one) == 3


def test_keys_change_though_the_routes_before_are_not_applied_here(first, nodes):
    one, two = nodes("one"), nodes("two")
    one.deployment.commit(routed(one, "2"), record_of())
    key, secret = new_key("line-3", [Scope.DETECT])
    two.deployment.change_keys(record_of(), lambda keys: with_key(keys, key))
    assert two.keys.find(secret) == key
    assert version(two) == 1, "its routes are still to be applied"
    assert two.deployment.pending().state.routes["bolt"].stable.version == "2"


def test_another_change_is_made_with_its_record_or_not_at_all(first, nodes):
    one, two = nodes("one"), nodes("two")
    done = []
    one.deployment.record(record_of(action="replay"), lambda: done.append(1))

    def fail():
        raise ValueError("nothing to replay")

    with pytest.raises(ValueError, match="nothing to replay"):
        one.deployment.record(record_of(action="dead-letters"), fail)
    read(two)
    assert done == [1]
    assert [entry.action for entry in two.deployment.audit] == ["state-imported", "replay"]
    assert (version(one), version(two)) == (1, 1), "the state is the same"


def test_a_change_is_refused_while_the_postgresql_is_away_and_nothing_is_lost(
    nodes, first, tmp_path, state_url
):
    nodes("one").close()
    one = nodes("one", SHUT)
    before = one.deployment.applied
    with pytest.raises(SharedStateUnavailable, match="nothing was changed, and inspections go on"):
        one.deployment.commit(routed(one, "2"), record_of())
    assert one.deployment.applied == before
    (refused,) = one.deployment.knowledge.refused
    assert "cannot be used" in refused.refused
    line = json.loads((tmp_path / "one" / "refused.jsonl").read_text())
    assert (line["action"], line["who"]) == ("route", "Ada")
    one.close()
    again = nodes("one", state_url)
    assert again.deployment.state.routes == {}, "nothing half-applied"
    assert [entry.who for entry in again.deployment.knowledge.refused] == ["Ada"]


def test_a_silent_postgresql_is_waited_for_no_longer_than_the_limit(
    first, nodes, state_url, caplog
):
    """It accepts and never answers; a change that waits for its commit says that it may be made."""
    answers = threading.Event()
    answers.set()
    port = int(state_url.partition("127.0.0.1:")[2].partition("/")[0])
    proxy = CuttingProxy(port, lambda _: "pass" if answers.wait(30) else "drop")
    try:
        one = nodes("one", state_url.replace(f":{port}/", f":{proxy.port}/"), timeout_s=1.0)
        answers.clear()
        with pytest.raises(SharedStateUnavailable, match="nothing was changed"):
            one.deployment.commit(routed(one, "2"), record_of())
        answers.set()
        one.deployment.commit(routed(one, "2"), record_of())

        def fall_silent():
            answers.clear()
            return "made"

        with pytest.raises(SharedStateUnavailable, match="whether the change was made is not kno"):
            one.deployment.record(record_of(action="replay"), fall_silent)
    finally:
        answers.set()
        one.close()
        proxy.close()
    assert {record.name for record in caplog.records} == {"service.sharing"}


def test_a_node_without_a_last_state_needs_the_postgresql(nodes, state_url):
    with pytest.raises(StateUnreadable, match=r"no last state to go on from.*Connection refused"):
        nodes("one", SHUT)
    with pytest.raises(StateUnreadable, match=r"it has no state.*mambaad state import"):
        nodes("one")
    engine = create_engine(state_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE mambaad_state_compatibility"))
        connection.execute(text("DROP TABLE mambaad_state_revision"))
        connection.execute(text("DROP TABLE mambaad_state_changes, mambaad_state"))
    engine.dispose()
    with pytest.raises(StateUnreadable, match="run `mambaad state migrate`"):
        nodes("one")


def test_a_password_is_in_no_message(nodes, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    with pytest.raises(StateUnreadable) as refusal:
        nodes("one", "postgresql://ada@127.0.0.1:1/none?sslmode=disable")
    assert "s3cret" not in str(refusal.value)
    assert "ada" not in str(refusal.value)
