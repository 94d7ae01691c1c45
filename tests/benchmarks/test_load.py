"""The load generator: arrivals wait for no answer, latency counts from the intended time."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import load
from benchmarks.loading import CannotMeasure, claims
from benchmarks.loading.alone import detector_rate
from benchmarks.loading.arrivals import Arrivals, schedule
from benchmarks.loading.conducting import Measured, batches_between, measure
from benchmarks.loading.ideal import ideal_latencies, line_through
from benchmarks.loading.report import latency_of, summarise, text_of, throughput
from benchmarks.loading.sender import ClosedLoop, OpenLoop, Outcome, Target
from benchmarks.loading.serving import copy_store, started
from benchmarks.loading.subject import parse_mix, read_bodies
from model.checkpoints.checkpoint import CheckpointStore

ROOT = Path(__file__).parents[2]
EFFORT = claims.Effort(seconds=0.8, warm_up_s=0.2, rounds=1)


class FakeService:
    """Answers after `service_s`, except during a pause without any answers."""

    def __init__(self, service_s=0.005):
        self.service_s = service_s
        self.pause = threading.Event()
        self.pause.set()
        self.answers = [200]
        self.requested = Counter()
        self.arrived = []
        self.within = self.at_once = 0
        self.lock = threading.Lock()

    def metrics(self):
        """Each request is a batch of one that takes 7 ms."""
        count = len(self.arrived)
        return "".join(
            f'# TYPE {name} histogram\n{name}_bucket{{le="+Inf"}} {count}\n'
            f"{name}_count {count}\n{name}_sum {count * value}\n"
            for name, value in (
                ("mambaad_batch_size", 1),
                ("mambaad_batch_duration_seconds", 0.007),
            )
        )

    def handler(self):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path == "/metrics":
                    self.say(200, fake.metrics().encode(), "text/plain")
                elif self.path == "/categories":
                    self.say(200, b'{"categories": [{"category": "bolt"}, {"category": "nut"}]}')
                else:
                    self.say(200, b'{"ready": true, "workers": [{"name": "cpu"}]}')

            def do_POST(self):
                with fake.lock:
                    fake.arrived.append(time.monotonic())
                    fake.requested[self.path] += 1
                    status = fake.answers[sum(fake.requested.values()) % len(fake.answers)]
                    fake.within += 1
                    fake.at_once = max(fake.at_once, fake.within)
                self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(fake.service_s)
                fake.pause.wait()
                with fake.lock:
                    fake.within -= 1
                result = {"decision": "OK"}
                problem = {"type": "urn:mambaad:problem:queue-full"}
                answer = {"results": [result]} if status == 200 else problem
                self.say(status, json.dumps(answer).encode())

            def say(self, status, content, kind="application/json"):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler

    @contextmanager
    def running(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Target(
                f"http://127.0.0.1:{server.server_port}", {"bolt": [b"image"], "nut": [b"image"]}
            )
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def fake():
    return FakeService()


def starting(fake, categories):
    """A list that grows with each start, and a function that starts the service."""
    starts = []

    @contextmanager
    def serving():
        starts.append("service")
        with fake.running() as target:
            yield target, categories

    return starts, serving


def test_an_ideal_device_takes_what_waits_and_loses_no_time():
    line = line_through(single_s=3.0, batch_s=6.0, batch=4)
    assert [line(n) for n in (1, 2, 4)] == [3.0, 4.0, 6.0]
    # One alone; two that wait for the first; one that finds the device free.
    assert ideal_latencies([0.0, 1.0, 2.0, 10.0], line, most=4) == [3.0, 6.0, 5.0, 3.0]
    # Batches of one: each waits for all before it.
    assert ideal_latencies([0.0, 1.0, 2.0], line, most=1) == [3.0, 5.0, 7.0]
    assert ideal_latencies([], line, most=4) == []


def test_ideal_lanes_share_what_waits():
    line = line_through(single_s=3.0, batch_s=4.0, batch=2)
    # At 3 both wait and a lane takes one; at 4 the other lane takes the other.
    assert ideal_latencies([0.0, 1.0, 2.0, 2.5], line, most=4, lanes=2) == [3.0, 3.0, 4.0, 4.5]
    # Two and then one in the first lane, one in the second.
    assert ideal_latencies([0.0] * 4, line, most=4, lanes=2) == [4.0, 4.0, 3.0, 6.0]


def test_of_batches_of_one_every_image_costs_the_same():
    assert line_through(single_s=2.0, batch_s=9.0, batch=1)(5) == 10.0


def test_constant_arrivals_keep_their_distance():
    shots = schedule(Arrivals.CONSTANT, 20, 2.0, {"bolt": 1})
    np.testing.assert_allclose(np.diff([shot.at_s for shot in shots]), 0.05)
    assert len(shots) == 40


def test_poisson_arrivals_are_poisson():
    shots = schedule(Arrivals.POISSON, 100, 200, {"bolt": 1}, seed=3)
    gaps = np.diff([shot.at_s for shot in shots])
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # exponential
    counts = np.histogram([shot.at_s for shot in shots], 200)[0]
    assert counts.var() == pytest.approx(counts.mean(), rel=0.25)


def test_the_mix_is_kept_and_the_schedule_is_the_seeds():
    shots = schedule(Arrivals.POISSON, 100, 100, {"bolt": 3, "nut": 1})
    share = Counter(shot.category for shot in shots)["bolt"] / len(shots)
    assert share == pytest.approx(0.75, abs=0.02)
    assert shots == schedule(Arrivals.POISSON, 100, 100, {"bolt": 3, "nut": 1})
    assert shots != schedule(Arrivals.POISSON, 100, 100, {"bolt": 3, "nut": 1}, seed=1)


@pytest.mark.parametrize("mix", [{}, {"bolt": 0}, {"bolt": -1}, {"bolt": float("inf")}])
def test_a_mix_that_is_none(mix):
    with pytest.raises(CannotMeasure):
        schedule(Arrivals.CONSTANT, 1, 1, mix)


@pytest.mark.parametrize("rate", [0, -1, float("inf")])
def test_a_rate_that_is_none(rate):
    with pytest.raises(CannotMeasure):
        schedule(Arrivals.CONSTANT, rate, 1, {"bolt": 1})


def test_a_mix_in_words():
    assert parse_mix("bolt=3, nut", ["bolt", "nut"]) == {"bolt": 3, "nut": 1}
    assert parse_mix(None, ["bolt", "nut"]) == {"bolt": 1, "nut": 1}
    for wrong, message in (("cog=1", "has: bolt"), ("bolt=x", "name=weight")):
        with pytest.raises(CannotMeasure, match=message):
            parse_mix(wrong, ["bolt"])


def test_images_are_found_by_the_beginning_of_a_category(tmp_path):
    for name in ("bolt/a.png", "nut/b.jpg", "nut/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    bodies = read_bodies(tmp_path, ["bolt-3", "nut", "cog"])
    assert bodies["bolt-3"] == [b"bolt/a.png"]
    assert bodies["nut"] == [b"nut/b.jpg"]
    assert bodies["cog"] == [b"bolt/a.png", b"nut/b.jpg"]
    with pytest.raises(CannotMeasure, match="no images"):
        read_bodies(tmp_path / "bolt", ["bolt"])


def outcome(latency_ms, at_s=0.0, late_ms=0.0, status=200, category="bolt"):
    return Outcome(
        category, at_s, at_s + late_ms / 1000, at_s + latency_ms / 1000, status,
        "" if status == 200 else "queue-full", "OK" if status == 200 else "",
    )  # fmt: skip


def test_percentiles_are_numpys_and_count_from_the_intended_time():
    values = np.random.default_rng(0).exponential(20, 500)
    latency = latency_of([outcome(ms, late_ms=5) for ms in values])
    expected = np.percentile(values, [50, 95, 99, 100])
    np.testing.assert_allclose(
        [latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms], expected
    )
    assert latency_of([]) is None


def test_throughput_of_answers_that_come_in_batches():
    """Batches of 8 every 0.4 s are 20 a second, wherever the measured time begins."""
    done = [outcome(1000 * 0.4 * batch + n) for batch in range(1, 40) for n in range(8)]
    assert throughput(done) == pytest.approx(20, rel=0.01)
    assert throughput(done[3:-5]) == pytest.approx(20, rel=0.01)
    assert throughput(done[:1]) == 0


def test_a_summary_counts_errors_apart():
    outcomes = [outcome(10)] * 8 + [outcome(500, status=503)] * 2
    summary = summarise(Measured(outcomes, 2.0, None, 0.1), offered=5.0)
    assert (summary.achieved, summary.requests) == (4.0, 10)
    assert (summary.latency.max_ms, summary.latency_all.max_ms) == pytest.approx((10, 500))
    assert summary.codes == {"200": 8, "503": 2}
    assert summary.problems == {"queue-full": 2}
    assert summary.decisions == {"OK": 8}
    assert "queue-full 2" in text_of(summary)
    assert summary.doubt.startswith("only 8 good answers")
    assert summarise(Measured(3 * outcomes, 2.0, None, 0.1)).doubt is None


@pytest.mark.parametrize(
    ("late_ms", "cpu_share", "doubt"), [(50, 0.1, "sender was late"), (0, 0.95, "95% of a core")]
)
def test_a_sender_that_does_not_keep_up_says_so(late_ms, cpu_share, doubt):
    summary = summarise(Measured([outcome(60, late_ms=late_ms)], 1.0, None, cpu_share))
    assert doubt in summary.doubt
    assert "NOT TO BE TRUSTED" in text_of(summary)


def test_batches_between_two_readings():
    before = {"1.0": 3.0, "2.0": 4.0, "+Inf": 4.0, "count": 4.0, "sum": 5.0}
    before |= {"seconds 0.1": 2.0, "seconds count": 2.0, "seconds sum": 0.1}
    after = {"1.0": 3.0, "2.0": 6.0, "+Inf": 8.0, "count": 8.0, "sum": 17.0}
    after |= {"seconds 0.1": 4.0, "seconds count": 5.0, "seconds sum": 0.7}
    batches = batches_between(before, after)
    assert (batches.count, batches.mean) == (4, 3.0)
    assert batches.up_to == {"1.0": 0, "2.0": 2, "+Inf": 4}
    assert batches.mean_ms == pytest.approx(200)  # of the three batches that ended
    assert batches_between(before, after | {"seconds count": 2.0}).mean_ms is None
    assert batches_between(after, after) is None
    assert batches_between({}, {}) is None


def when_arrived(fake, count, act):
    """Call `action` in a thread after `count` arrivals, or 30 s."""

    def wait():
        until = time.monotonic() + 30
        while len(fake.arrived) < count and time.monotonic() < until:
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_loop_that_is_open_waits_for_no_answer(fake):
    """Answers come only after everything has been sent."""
    shots = schedule(Arrivals.CONSTANT, 60, 1.0, {"bolt": 1})
    fake.pause.clear()
    releasing = when_arrived(fake, 60, fake.pause.set)
    with fake.running() as target:
        measured = measure(target, OpenLoop(shots), 1.0, 0.0, "open loop")
    releasing.join()
    assert len(measured.outcomes) == 60
    assert {outcome.status for outcome in measured.outcomes} == {200}
    assert min(o.done_s for o in measured.outcomes) > max(o.sent_s for o in measured.outcomes)
    due = sorted(outcome.intended_s for outcome in measured.outcomes)
    np.testing.assert_allclose(due, [shot.at_s for shot in shots])


def test_a_stall_is_charged_to_every_request_that_was_due_meanwhile(fake):
    """No coordinated omission: a closed loop would see one slow request."""

    def stall():
        fake.pause.clear()
        time.sleep(0.6)
        fake.pause.set()

    with fake.running() as target:
        stalling = when_arrived(fake, 20, stall)
        effort = claims.Effort(seconds=2.0, warm_up_s=0.0, rounds=1)
        summary = claims.opened(target, Arrivals.CONSTANT, 50, {"bolt": 1.0}, effort, 0)
        stalling.join()
    assert summary.requests == 100
    assert summary.latency.p99_ms > 450
    assert summary.latency.p95_ms > 300  # 30 of 100 waited, 300 ms on average


def test_a_closed_loop_keeps_so_many_on_their_way_through_the_categories_in_turn(fake):
    fake.service_s = 0.05
    with fake.running() as target:
        work = ClosedLoop(["bolt", "nut"], 4, 1.0)
        summary = summarise(measure(target, work, 1.0, 0.2, "closed loop", senders=2))
    assert 5 < summary.achieved <= 85  # 4 at once, each 50 ms: at most 80 a second
    assert summary.codes == {"200": summary.requests}
    counts = {
        path.partition("category=")[2].partition("&")[0]: n for path, n in fake.requested.items()
    }
    assert counts["bolt"] == pytest.approx(counts["nut"], abs=4)
    assert summary.batches.mean_ms == pytest.approx(7.0)


def test_errors_are_counted_by_code_and_kind(fake):
    fake.answers = [200, 503]
    with fake.running() as target:
        work = OpenLoop(schedule(Arrivals.CONSTANT, 40, 0.5, {"bolt": 1}))
        summary = summarise(measure(target, work, 0.5, 0.0, "errors"), 40)
    assert summary.codes == {"200": 10, "503": 10}
    assert summary.problems == {"queue-full": 10}


def test_nobody_there_is_an_error_too():
    target = Target("http://127.0.0.1:1", {"bolt": [b"image"]})
    work = OpenLoop(schedule(Arrivals.CONSTANT, 20, 0.2, {"bolt": 1}))
    summary = summarise(measure(target, work, 0.2, 0.0, "nobody"), 20)
    assert summary.problems == {"cannot-connect": 4}
    assert summary.latency is None
    assert summary.batches is None
    with pytest.raises(CannotMeasure, match="no durations of batches"):
        claims._batch_ms(summary)


def test_the_command_reports_and_writes(fake, tmp_path):
    written = tmp_path / "load.json"
    with fake.running() as target:
        words = ["run", "--url", target.url, "--rate", "50%", "--concurrency", "2", "--seconds"]
        options = ["0.6", "--warm-up", "0.2", "--images", str(ROOT / "samples")]
        result = CliRunner().invoke(load.app, [*words, *options, "--json", str(written)])
    assert result.exit_code == 0, result.output
    assert "capacity: " in result.output
    report = json.loads(written.read_text())
    assert report["workers"] == ["cpu"]
    assert report["summary"]["offered"] == pytest.approx(report["capacity"]["achieved"] / 2)
    assert set(report["summary"]["latency"]) == {"p50_ms", "p95_ms", "p99_ms", "max_ms"}
    assert report["command"].startswith("python -m benchmarks.load")


@pytest.mark.parametrize(
    ("verdict", "factor"), [(True, 0.5), (False, 100.0)], ids=["holds", "does not hold"]
)
def test_throughput_is_held_against_the_detectors_own(fake, verdict, factor):
    starts, serving = starting(fake, ["bolt", "nut"])

    def rate():
        starts.append("detector")
        return 20 * factor

    effort = replace(EFFORT, rounds=3)
    comparison, runs = claims.throughput(serving, rate, 2, lanes=3, effort=effort)
    assert starts == ["detector", "service"] * 3  # new processes in every round
    assert set(fake.requested) == {"/detect?category=bolt&heatmap=none"}
    assert comparison.holds is verdict
    achieved = sorted(run["achieved"] for run in runs["runs"])
    assert comparison.measured == pytest.approx(achieved[1] / (20 * factor))


def test_each_lane_is_kept_as_full_as_the_detector(fake):
    """Two batches per lane: one computing, one waiting."""
    fake.pause.clear()
    releasing = when_arrived(fake, 8, fake.pause.set)

    _, serving = starting(fake, ["bolt"])
    claims.throughput(serving, lambda: 20.0, 2, lanes=2, effort=EFFORT)
    releasing.join()
    assert fake.at_once == 8


def test_the_detector_is_measured_in_a_process_of_its_own():
    assert detector_rate(ROOT / "weights", "cpu", 1, 0.1, threads=1) > 0.5
    with pytest.raises(CannotMeasure, match="no checkpoint in nowhere"):
        detector_rate(Path("nowhere"), "cpu", 1, 0.1)


@pytest.mark.parametrize(
    ("reference", "compared", "doubted"),
    [([10, 11], [9.5, 10], False), ([10, 13], [10, 10], True), ([10], [18], True)],
)
def test_a_machine_whose_speed_drifts_is_noticed(reference, compared, doubted):
    assert (claims._drift(reference, compared) is not None) is doubted
    verdict = claims.Verdict("a claim", True, 1, 1, "why", claims._drift(reference, compared))
    assert ("NOT TO BE TRUSTED" in verdict.text()) is doubted


def test_latency_is_held_against_unloaded_ones_in_every_round(fake, monkeypatch):
    monkeypatch.setattr(claims, "_SINGLE_REQUESTS_S", 0.5)
    fake.service_s = 0.02
    starts, serving = starting(fake, ["bolt", "nut"])
    verdict, runs = claims.latency(serving, 1, 0.3, replace(EFFORT, rounds=3))
    assert len(starts) == 3  # a new service for each
    for figures in runs["rounds"]:
        limit = 2 * figures["single"]["latency"]["p50_ms"] + 7.0  # a batch's time in /metrics
        assert figures["limit_ms"] == pytest.approx(limit)
        assert figures["ratio"] == pytest.approx(figures["loaded"]["latency_all"]["p99_ms"] / limit)
        assert figures["machine"]["slowest"] > 0
    assert verdict.measured == sorted(figures["ratio"] for figures in runs["rounds"])[1]
    assert verdict.holds is (verdict.measured <= 1)
    offered = [
        figures["loaded"]["requests"] / figures["loaded"]["offered"] for figures in runs["rounds"]
    ]
    assert len(set(offered)) == 3  # new arrivals each time


def test_latency_does_not_hold_where_requests_fail(fake, monkeypatch):
    monkeypatch.setattr(claims, "_SINGLE_REQUESTS_S", 0.5)
    fake.answers = [200, 200, 503]
    monkeypatch.setattr(claims._Loaded, "ratio", property(lambda _: 0.5))
    _, serving = starting(fake, ["bolt"])
    verdict, runs = claims.latency(serving, 1, 0.3, EFFORT)
    failed = runs["rounds"][0]["loaded"]["codes"]["503"]
    assert not verdict.holds
    assert f" {failed} requests failed" in verdict.explanation


def test_latency_is_measured_with_arrivals_like_a_lines_too(fake, monkeypatch):
    """Equally spaced single requests never wait on an ideal device."""
    monkeypatch.setattr(claims, "_SINGLE_REQUESTS_S", 0.5)
    _, serving = starting(fake, ["bolt"])
    verdict, runs = claims.latency(serving, 1, 0.3, EFFORT, Arrivals.CONSTANT)
    assert "constant arrivals" in verdict.claim
    assert runs["rounds"][0]["ideal"]["p99_ms"] == pytest.approx(7.0)


def test_many_categories_are_held_against_one(fake):
    with fake.running() as target:
        verdict, runs = claims.interleaved(target, ["bolt", "nut"], 2, EFFORT)
    ratio = runs["interleaved"][0]["achieved"] / runs["one"][0]["achieved"]
    assert verdict.measured == pytest.approx(ratio)
    assert verdict.holds is (ratio >= 0.9)


def test_a_store_is_copied_to_many_categories(tmp_path):
    copy_store(ROOT / "weights", tmp_path / "store", 3, 7)
    store = CheckpointStore(tmp_path / "store")
    manifests = store.manifests()
    assert [len(manifest.categories) for manifest in manifests] == [3, 2, 2]
    assert sum((manifest.categories for manifest in manifests), ()) == (
        "solar-mono-0", "solar-mono-2", "solar-poly-1", "solar-mono-4", "solar-poly-3",
        "solar-mono-6", "solar-poly-5",
    )  # fmt: skip
    original = CheckpointStore(ROOT / "weights").load("solar")
    copied = store.load(manifests[1].name)
    calibrations = original.calibrations
    assert copied.calibrations["solar-poly-3"] == calibrations["solar-poly"]
    assert set(copied.baselines) == {"solar-poly-3", "solar-mono-4"}
    with pytest.raises(CannotMeasure, match="checkpoints <= categories"):
        copy_store(ROOT / "weights", tmp_path / "other", 3, 2)
    with pytest.raises(CannotMeasure, match="no checkpoint"):
        copy_store(tmp_path / "nothing", tmp_path / "other", 1, 1)


def test_a_service_that_does_not_start_says_why():
    with (
        pytest.raises(CannotMeasure, match="port"),
        started(ROOT / "weights", 1, 1, ["--port", "70000"]),
    ):
        pass


def test_what_cannot_be_measured_is_said_in_a_line():
    command = [sys.executable, "-m", "benchmarks.load", "run", "--start", "--weights", "nowhere"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr == "load: no checkpoint in nowhere\n"
