"""The keys of a file that changes, breaks, and is repaired."""

import logging
import os

import pytest

from service.access import keys
from service.access.key_ring import KeyRing
from service.access.keys import KeysUnusable, add_key, remove_key
from service.errors import KeysUnreadable
from service.http.declaration import Scope

GRACE_S = 900.0


class Clock:
    """A clock that advances by two seconds with each `tick`."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def tick(self, seconds=2.0):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def secret(path):
    return add_key(path, "a", [Scope.DETECT])


@pytest.fixture
def ring(path, secret, clock):
    return KeyRing(path, GRACE_S, clock)


def messages(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def replace_in_place(path, content):
    """Overwrite a file in place like an editor, and restore its times."""
    status = path.stat()
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_keys_come_and_go_while_the_service_runs(path, secret, ring, clock):
    second = add_key(path, "b", [Scope.DETECT])
    clock.tick()
    assert ring.find(second).name == "b"
    remove_key(path, "a")
    clock.tick()
    assert ring.find(secret) is None
    with pytest.raises(KeysUnusable, match="no key named 'a'"):
        remove_key(path, "a")


def test_the_file_is_not_looked_at_for_every_request(path, secret, ring, clock, monkeypatch):
    path.unlink()
    monkeypatch.setattr(KeyRing, "_now", lambda _: pytest.fail("looked"))
    assert ring.find(secret)
    clock.tick(0.9)
    assert ring.find(secret)


@pytest.mark.parametrize("fault", ["half", "empty", "others-may-write", "gone"])
def test_a_passing_fault_takes_no_key_and_the_file_is_read_again(
    path, secret, ring, clock, caplog, fault
):
    content = path.read_bytes()
    if fault == "gone":
        path.unlink()
    elif fault == "others-may-write":
        path.chmod(0o622)
    else:
        replace_in_place(path, content[: len(content) // 2] if fault == "half" else b"")
    for _ in range(5):
        clock.tick()
        assert ring.find(secret).name == "a"
    assert len(messages(caplog)) == 1
    assert messages(caplog)[0].endswith("the keys read before stay valid for 900 s")
    assert ring.unread_s() == 8
    replace_in_place(path, content) if path.exists() else path.write_bytes(content)
    path.chmod(0o600)
    clock.tick()
    assert ring.find(secret).name == "a"
    assert ring.unread_s() == 0


def test_a_key_revoked_while_the_file_could_not_be_read_is_refused_once_it_can(
    path, secret, ring, clock
):
    remove_key(path, "a")
    path.chmod(0o622)
    clock.tick()
    assert ring.find(secret)
    path.chmod(0o600)  # content and change time are as at the failed reading
    clock.tick()
    assert ring.find(secret) is None


def test_a_revocation_that_leaves_size_and_time_of_change_is_noticed(path, secret, ring, clock):
    other = path.read_bytes().replace(b'"a"', b'"b"')
    for _ in range(2):
        clock.tick()
        assert ring.find(secret).name == "a"
    replace_in_place(path, other)
    clock.tick()
    assert ring.find(secret).name == "b"


def test_a_write_in_the_same_tick_of_the_file_system_is_noticed(
    path, secret, ring, clock, monkeypatch
):
    """With a slow clock, two writes within a tick leave the same stamp."""
    frozen = path.stat()
    monkeypatch.setattr(keys.Stamp, "of", classmethod(lambda cls, _: cls(*[frozen.st_size] * 6)))
    ring = KeyRing(path, GRACE_S, clock)
    replace_in_place(path, path.read_bytes().replace(b'"a"', b'"b"'))
    clock.tick()
    assert ring.find(secret).name == "b"


def test_keys_end_where_the_file_cannot_be_read_for_the_grace(path, secret, ring, clock):
    path.unlink()
    clock.tick()
    assert ring.find(secret)
    clock.tick(GRACE_S - 1)
    assert ring.find(secret)
    clock.tick(1)
    with pytest.raises(KeysUnreadable, match="could not be read for 900 s"):
        ring.find(secret)
    add_key(path, "c", [Scope.DETECT])
    clock.tick()
    assert ring.find(secret) is None  # readable again: missing keys are unknown


def test_a_service_nobody_asked_for_an_hour_still_has_its_grace(path, secret, ring, clock):
    clock.tick(3600)
    path.chmod(0o622)
    assert ring.find(secret)
    clock.tick(GRACE_S)
    with pytest.raises(KeysUnreadable):
        ring.find(secret)


def test_without_a_grace_keys_end_at_the_first_fault(path, secret, clock):
    ring = KeyRing(path, 0, clock)
    path.unlink()
    clock.tick()
    with pytest.raises(KeysUnreadable):
        ring.find(secret)


def test_each_kind_of_fault_is_logged_once(path, secret, ring, clock, caplog):
    for mode in (0o622, 0o622, 0o600, 0o622):
        path.chmod(mode)
        clock.tick()
        ring.find(secret)
    path.unlink()
    for _ in range(3):
        clock.tick()
        ring.find(secret)
    assert [
        ("others may write" in message, "cannot be read" in message) for message in messages(caplog)
    ] == [
        (True, False),
        (True, False),
        (False, True),
    ]


def test_a_file_replaced_at_every_look_is_never_half_read(path, secret, ring, clock, caplog):
    for number in range(20):
        add_key(path, f"k{number}", [Scope.DETECT])
        clock.tick()
        assert ring.find(secret).name == "a"
    assert messages(caplog) == []
