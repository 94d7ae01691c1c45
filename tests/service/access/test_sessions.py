"""Sessions: a cookie stands for a key as long as the key is there and the person is."""

import pytest
from starlette.datastructures import Headers

from service.access.guard import Guard
from service.access.keys import add_key, remove_key
from service.access.sessions import Session, Sessions
from service.access.signing import read_key
from service.errors import Forbidden, Unauthenticated
from service.http.declaration import Scope
from service.settings import AccessSettings, ConsoleSettings

KEY = b"k" * 32


class Clock:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def secret(path):
    return add_key(path, "ada", [Scope.ADMIN, Scope.REVIEW])


@pytest.fixture
def viewer(path):
    return add_key(path, "screen", [Scope.READ])


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sessions(path, secret, viewer, metrics, clock):
    def make(key=KEY, **settings):
        guard = Guard(AccessSettings(api_keys_file=path), metrics, needs_keys=True)
        return Sessions(key, guard, ConsoleSettings(**settings), clock)

    return make


def scope(sessions, session=None, *, client="127.0.0.1", scheme="http", value=None):
    value = sessions.write(session) if session else value
    cookie = f"a=b; {sessions.cookie_name}={value}; c=d".encode()
    headers = [(b"host", b"127.0.0.1"), (b"cookie", cookie)]
    assert Headers(raw=headers)
    return {
        "type": "http",
        "method": "GET",
        "headers": headers,
        "client": (client, 1),
        "scheme": scheme,
    }


def test_a_cookie_stands_for_its_key_also_after_a_restart(sessions, secret, tmp_path):
    stored = tmp_path / "console.key"
    session = sessions(read_key(stored, "sessions")).sign_in(secret)
    after = sessions(read_key(stored, "sessions"))
    caller = after.identify(scope(after, session))
    assert (caller.name, caller.scopes) == ("ada", {Scope.ADMIN, Scope.REVIEW})
    assert stored.stat().st_mode & 0o077 == 0
    assert secret not in after.write(session)


def test_an_unknown_key_signs_nobody_in(sessions):
    assert sessions().sign_in("mambaad_unknown") is None


@pytest.mark.parametrize("value", ["", "x", "a.b", "é", "WyJhIiwiYiIsMV0.aaaa"])
def test_a_forged_cookie_is_no_session(sessions, value):
    assert not sessions().of(scope(sessions(), value=value)).is_signed_in
    with pytest.raises(Unauthenticated):
        sessions().identify(scope(sessions(), value=value))


def test_a_cookie_signed_with_another_key_is_no_session(sessions, secret):
    other = sessions(b"o" * 32)
    value = other.write(other.sign_in(secret))
    assert not sessions().of(scope(sessions(), value=value)).is_signed_in


def test_a_withdrawn_key_ends_its_sessions(sessions, secret, path, monkeypatch):
    opened = sessions()
    session = opened.sign_in(secret)
    monkeypatch.setattr("service.access.key_ring._RECHECK_S", 0.0)
    remove_key(path, "ada")
    with pytest.raises(Unauthenticated, match="withdrawn"):
        opened.identify(scope(opened, session))


def test_who_may_change_something_is_signed_out_when_idle_and_a_screen_is_not(
    sessions, secret, viewer, clock
):
    opened = sessions(idle_timeout_s=600)
    person, screen = opened.sign_in(secret), opened.sign_in(viewer)
    clock.now += 599
    renewed = opened.renewed(person)
    opened.identify(scope(opened, person))
    clock.now += 2
    with pytest.raises(Unauthenticated, match="idle"):
        opened.identify(scope(opened, person))
    opened.identify(scope(opened, renewed))
    clock.now += 86_400
    assert opened.identify(scope(opened, screen)).name == "screen"
    clock.now += 31 * 86_400
    with pytest.raises(Unauthenticated, match="idle"):
        opened.identify(scope(opened, screen))


@pytest.mark.parametrize(
    ("client", "scheme", "allowed", "scopes"),
    [
        ("127.0.0.1", "http", False, {Scope.ADMIN, Scope.REVIEW}),
        ("::1", "http", False, {Scope.ADMIN, Scope.REVIEW}),
        ("192.0.2.7", "http", False, {Scope.READ, Scope.REVIEW}),
        ("192.0.2.7", "https", False, {Scope.ADMIN, Scope.REVIEW}),
        ("192.0.2.7", "http", True, {Scope.ADMIN, Scope.REVIEW}),
    ],
)
def test_strangers_who_read_along_do_not_become_engineers(
    sessions, secret, client, scheme, allowed, scopes
):
    opened = sessions(plain_http_admin=allowed)
    session = opened.sign_in(secret)
    assert opened.identify(scope(opened, session, client=client, scheme=scheme)).scopes == scopes


def test_a_change_repeats_the_token_of_its_session(sessions, secret):
    opened = sessions()
    session, other = opened.sign_in(secret), Session("other", "", 0)
    opened.check_token(session, opened.token_of(session))
    for given in ("", "x", "é", opened.token_of(other)):
        with pytest.raises(Forbidden):
            opened.check_token(session, given)
