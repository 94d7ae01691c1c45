"""The soak's judgement: detects growth and reports wrong answers."""

import socket
import threading
import time

import httpx
import pytest

from benchmarks import soak
from benchmarks.loading import CannotMeasure
from benchmarks.soaking import tally as tallying
from benchmarks.soaking.exchange import Reply
from benchmarks.soaking.probing import BASELINE, Probe, Prober, Silences, summaries
from benchmarks.soaking.tally import Tally
from benchmarks.soaking.watching import TOLERANCES, flatness


def samples(count=40, **growth):
    return [
        dict.fromkeys(TOLERANCES, 100.0)
        | {name: 100.0 + total * i / (count - 1) for name, total in growth.items()}
        for i in range(count)
    ]


def growing(rows):
    return [row["what"] for row in rows if not row["flat"]]


def test_what_is_flat_is_flat_and_what_grows_is_named():
    assert growing(flatness(samples())) == []
    rows = flatness(samples(front_mb=30, front_files=20, worker_mb=20, worker_threads=-5))
    assert growing(rows) == ["front_mb", "front_files"]


def test_a_peak_in_between_is_no_growth():
    peaked = samples()
    peaked[20]["front_mb"] = 5000.0
    (row, *_) = flatness(peaked)
    assert (row["flat"], row["highest"]) == (True, 5000.0)


def test_too_few_samples_tell_nothing():
    with pytest.raises(CannotMeasure):
        flatness(samples(4))


@pytest.mark.parametrize(
    ("status", "headers", "killed_ago_s", "restored_ago_s", "right"),
    [
        (200, {}, None, None, True),
        (500, {}, None, None, False),
        (503, {"retry-after": "1"}, None, None, False),
        (503, {"retry-after": "1"}, 50, None, True),
        (503, {"retry-after": "1"}, 50, 1, True),
        (503, {"retry-after": "1"}, 50, 10, False),
        (504, {}, 50, None, True),
        (504, {}, 50, 10, False),
        (503, {}, 5, None, False),
        (503, {"retry-after": "1"}, 500, None, False),
    ],
)
def test_503_is_right_only_from_the_kill_to_the_next_worker(
    monkeypatch, status, headers, killed_ago_s, restored_ago_s, right, capsys
):
    monkeypatch.setattr(tallying.time, "monotonic", lambda: 1000.0)
    tally = Tally()
    if killed_ago_s is not None:
        tally.killed_at = 1000.0 - killed_ago_s
    if restored_ago_s is not None:
        tally.restored_at = 1000.0 - restored_ago_s
    tally.expect("good", httpx.Response(status, headers=headers), {200})
    assert (tally.wrong == []) == right
    assert soak.report(flatness(samples()), tally) == right
    assert capsys.readouterr().out.endswith("\nHOLDS\n" if right else "\nDOES NOT HOLD\n")


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        (Reply(None), True),
        (Reply(413, b"HTTP/1.1 413\r\nX-Decision: UNDECIDED"), True),
        (Reply(413, b"HTTP/1.1 413\r\nX-Decision: OK"), False),
        (Reply(200, b"HTTP/1.1 200\r\nX-Decision: OK"), True),
        (Reply(503), True),
        (Reply(500), False),
    ],
)
def test_a_hostile_request_is_refused_and_never_ok(reply, right):
    tally = Tally()
    tally.expect_refusal("a bomb", reply)
    assert (tally.wrong == []) == right
    assert all("a bomb" in wrong for wrong in tally.wrong)


def test_a_silence_that_the_machine_had_too_is_not_the_service_s():
    machine = [Probe(n / 50, 0.001) for n in range(50)]
    machine[10] = Probe(0.2, 0.4)
    seen = summaries(
        {
            "service": [Probe(0.0, 0.002), Probe(0.25, 0.5), Probe(0.8, 0.1)],
            BASELINE: machine[:11] + machine[31:],
        }
    )
    assert seen["service"].longest_s == 0.5
    assert seen["service"].excess_s == pytest.approx(0.1)
    assert seen[BASELINE].longest_s == seen[BASELINE].excess_s == 0.4


@pytest.mark.parametrize(("excess_s", "holds"), [(0.2, True), (0.3, False), (float("nan"), False)])
def test_a_silence_that_is_too_long_is_told(excess_s, holds, capsys):
    silences = {
        "/livez": Silences(100, 0.01, 0.9, excess_s, at=5.0),
        BASELINE: Silences(100, 0.01, 0.7, 0.7),
    }
    tally = Tally(sent=[(4.0, 5.5, "a bomb"), (5.95, 6.0, "a later one")])
    assert soak.report(flatness(samples()), tally, silences) == holds
    output = capsys.readouterr().out
    assert ("TOO LONG" in output) != holds
    assert ("during: a bomb\n" in output) != holds


def test_a_service_that_says_nothing_is_seen_while_it_is_silent():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        taken = []
        answering = threading.Thread(target=answer_one, args=(silent, taken))
        answering.start()
        with Prober({"silent": url}) as prober:
            answering.join()
            time.sleep(0.4)
            seen = prober.take()
            time.sleep(0.2)
            later = prober.take()
        taken[0].close()
    assert seen["silent"].longest_s > 0.3
    assert seen[BASELINE].count > 5
    assert 0.15 < later["silent"].longest_s < seen["silent"].longest_s


def answer_one(listener, taken):
    connection, _ = listener.accept()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    taken.append(connection)
