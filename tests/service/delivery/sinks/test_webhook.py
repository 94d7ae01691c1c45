"""The webhook, on a real HTTP receiver: signatures, statuses, and bad receivers."""

from pathlib import Path

import pytest

from service.delivery.breaker import BreakerState
from service.delivery.sinks.webhook import sign
from tests.documents.examples import examples_in
from tests.service.delivery.broker import first_appearances, out_of_order
from tests.service.delivery.journals import parts, record
from tests.service.delivery.receiver import SECRET, Receiver


@pytest.fixture
def receiver():
    with Receiver().running() as running:
        yield running


@pytest.fixture
def settings(receiver, tmp_path):
    """Settings of a sink that posts to the receiver."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n", "utf-8")

    def make(**changes: object):
        settings = {"type": "webhook", "url": receiver.url, "secret_file": secret, "timeout_s": 5}
        return {**settings, "backoff_s": 0.05, "max_backoff_s": 0.3, **changes}

    return make


@pytest.fixture
def until_held(eventually):
    """Wait until the one sink is held for a reason with these words; return its status."""

    def wait(deliveries, words: str):
        def is_held():
            (status,) = deliveries.status()
            return words in (status.last_error or "") and status

        return eventually(is_held, f"a failure that says {words!r}")

    return wait


def test_every_part_arrives_signed_once_and_in_order(
    journal, deliver, receiver, settings, eventually
):
    deliver(hook=settings())
    inspections = parts(60)
    record(journal, inspections)
    eventually(lambda: len(receiver.taken) == 60)
    assert receiver.seen == [str(inspection.inspection_id) for inspection in inspections]
    assert [message["event_id"] for message in receiver.taken] == receiver.seen
    assert receiver.unsigned == 0


def test_the_documents_check_of_a_signature_accepts_it_and_nothing_else(
    journal, deliver, receiver, settings, eventually
):
    text = (Path(__file__).parents[4] / "docs/integrate.md").read_text("utf-8")
    (example,) = [
        example for example in examples_in(text, "integrate.md") if "is_genuine" in example.text
    ]
    documented: dict = {}
    exec(example.text, documented)
    deliver(hook=settings())
    record(journal, parts(1))
    eventually(lambda: receiver.taken)
    headers, body = receiver.last
    is_genuine = documented["is_genuine"]
    assert is_genuine(SECRET.encode(), headers, body)
    assert not is_genuine(b"another", headers, body)
    assert not is_genuine(SECRET.encode(), headers, body + b" ")
    stale = {**headers, "X-Mambaad-Timestamp": "1700000000"}
    stale["X-Mambaad-Signature"] = sign(SECRET.encode(), "1700000000", body)
    assert not is_genuine(SECRET.encode(), stale, body)


def test_a_signature_is_of_time_and_body():
    first = sign(b"secret", "1700000000", b"{}")
    others = {
        sign(b"secret", "1700000001", b"{}"),
        sign(b"secret", "1700000000", b"{} "),
        sign(b"Secret", "1700000000", b"{}"),
    }
    assert first not in others
    assert len(others) == 3


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_message_that_can_never_be_taken_is_a_dead_letter(
    journal, deliver, receiver, settings, eventually, status
):
    receiver.refused_parts, receiver.status_of_refused = {"1"}, status
    receiver.answer = b"no such part"
    deliveries = deliver(hook=settings())
    record(journal, parts(3))
    eventually(lambda: deliveries.status()[0].position == 3)
    assert [message["part_id"] for message in receiver.taken] == ["0", "2"]
    (letter,) = deliveries.dead("hook", 10)
    assert letter.reason == f"HTTP {status}: no such part"


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 409, 418, 425, 429, 500, 503])
def test_any_other_status_holds_the_sink(
    journal, deliver, receiver, settings, eventually, until_held, status
):
    receiver.refused_parts, receiver.status_of_refused = {"1"}, status
    receiver.headers = {"Location": receiver.url}
    deliveries = deliver(hook=settings())
    record(journal, parts(3))
    assert until_held(deliveries, f"HTTP {status}").position == 1
    assert len(receiver.taken) == 1
    receiver.refused_parts = set()
    eventually(lambda: deliveries.status()[0].position == 3)
    assert [message["part_id"] for message in receiver.taken] == ["0", "1", "2"]
    assert deliveries.dead("hook", 10) == []


@pytest.mark.parametrize("value", ["60", "Thu, 01 Jan 2099 00:00:00 GMT"])
def test_a_retry_after_is_kept_until_an_operator_says_now(
    journal, deliver, receiver, settings, until_held, eventually, value
):
    receiver.status, receiver.headers = 503, {"Retry-After": value}
    deliveries = deliver(hook=settings())
    record(journal, parts(1))
    assert until_held(deliveries, "HTTP 503").next_try_s > 30
    receiver.status, receiver.headers = 200, {}
    deliveries.retry("hook")
    eventually(lambda: len(receiver.taken) == 1)


@pytest.mark.parametrize(
    ("behaviour", "words"), [("hang", "no answer"), ("drip", "no answer"), ("cut", "")]
)
def test_a_receiver_that_hangs_drips_or_cuts_gets_everything_later(
    journal, deliver, receiver, settings, eventually, until_held, behaviour, words
):
    receiver.behaviour = behaviour
    deliveries = deliver(hook=settings(timeout_s=0.4))
    record(journal, parts(5))
    until_held(deliveries, words)
    eventually(lambda: deliveries.status()[0].breaker is BreakerState.OPEN)
    receiver.behaviour = "answer"
    eventually(lambda: len(first_appearances(receiver.taken)) == 5)
    assert not out_of_order(receiver.taken)


def test_an_endless_answer_is_not_read_to_its_end(journal, deliver, receiver, settings, eventually):
    receiver.answer = b"x" * 10_000_000
    deliver(hook=settings())
    record(journal, parts(3))
    eventually(lambda: len(receiver.taken) == 3)


def test_a_redirect_is_not_followed(journal, deliver, receiver, settings, until_held):
    with Receiver().running() as elsewhere:
        receiver.status, receiver.headers = 307, {"Location": elsewhere.url}
        deliveries = deliver(hook=settings())
        record(journal, parts(1))
        assert until_held(deliveries, "HTTP 307").breaker is not BreakerState.CLOSED
        assert elsewhere.seen == []


def test_tls_is_verified(journal, deliver, tmp_path, settings, authority, until_held, eventually):
    receiver = Receiver()
    receiver.secure(*authority.sign("hook"))
    with receiver.running():
        deliveries = deliver(hook=settings(url=receiver.url))
        record(journal, parts(1))
        until_held(deliveries, "the receiver's certificate")
        deliveries.stop()
        deliver(hook=settings(url=receiver.url, ca_file=authority.file))
        eventually(lambda: len(receiver.taken) == 1)


def test_a_secret_that_goes_missing_holds_the_sink(
    journal, deliver, receiver, settings, until_held, eventually, tmp_path
):
    deliveries = deliver(hook=settings())
    secret = tmp_path / "secret"
    content = secret.read_text("utf-8")
    secret.unlink()
    record(journal, parts(1))
    assert until_held(deliveries, "cannot be read").position == 0
    assert receiver.seen == []
    secret.write_text(content, "utf-8")
    deliveries.retry("hook")
    eventually(lambda: len(receiver.taken) == 1)
