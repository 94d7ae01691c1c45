"""A service in trouble: its clock jumps, its log cannot be written, it is stopped."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.service.live import ROOT, serving

JUMPING_CLOCK = """
import time
from pathlib import Path

def jumping(real, unit):
    def now():
        return real() + type(unit)(float(Path({offset!r}).read_text()) * unit)
    return now

time.time, time.time_ns = jumping(time.time, 1.0), jumping(time.time_ns, 10**9)
"""
YEAR_S = 365 * 24 * 3600


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    """A file with the offset of a service's clock in seconds."""
    offset = tmp_path_factory.mktemp("clock") / "offset"
    offset.write_text("0")
    (offset.parent / "sitecustomize.py").write_text(JUMPING_CLOCK.format(offset=str(offset)))
    return offset


@pytest.fixture(scope="module")
def troubled(live_store, clock):
    """A separate service, whose processes use that clock."""
    with serving(
        live_store,
        path=(clock.parent,),
        http__shutdown_grace_s=0.2,
        access__rate_limit_per_s=1000,
        workers__heartbeat_timeout_ms=5000,
        http__request_timeout_ms=20_000,
    ) as live:
        yield live


def test_a_clock_that_jumps_changes_no_answer(troubled, clock, image):
    """Deadlines, queues, heartbeats and rates use the monotonic clock."""
    expected = troubled.inspect(image())
    worker = troubled.worker
    with troubled.bystander(image()):
        for jump_s in (YEAR_S, -YEAR_S, 0, 3600, -3600, 0):
            (clock.parent / "next").write_text(str(jump_s))
            (clock.parent / "next").replace(clock)  # nobody reads half a number
            with troubled.client() as client:
                response = client.post(
                    "/detect?category=bolt",
                    content=image(),
                    headers={"X-Request-Timeout-Ms": "15000"},
                )
                assert response.status_code == 200, response.text
                assert client.get("/readyz").status_code == 200
            (result,) = response.json()["results"]
            assert result["raw_score"] == pytest.approx(expected["raw_score"], rel=1e-4)
            assert all(0 <= ms < 20_000 for ms in result["timings_ms"].values())
    later = time.gmtime(time.time() + YEAR_S).tm_year
    assert any(f'"time": "{later}' in line for line in troubled.log), "the clock did not jump"
    assert not troubled.is_replaced(worker)
    assert troubled.tracebacks() == []


def test_sigterm_during_loads_finishes_what_was_asked_and_leaves(troubled, image):
    """The last test of this module, since it ends the service."""
    statuses: list[int] = []
    loading_begun = threading.Event()

    def load(_: int) -> None:
        with troubled.client() as client:
            loading_begun.set()
            statuses.append(client.post("/models/parts/1/load").status_code)

    with ThreadPoolExecutor(3) as threads:
        loading = [threads.submit(load, number) for number in range(2)]
        loading_begun.wait()
        inspecting = threads.submit(troubled.inspect, image())
        time.sleep(0.2)
        troubled.process.send_signal(signal.SIGTERM)
        for future in loading:
            future.result()
        assert inspecting.result()["decision"] == "OK"
    assert troubled.await_end() == 0
    assert set(statuses) <= {200, 409, 503}
    assert troubled.tracebacks() == []


LOGGING = """
import logging
from service.telemetry.logs import configure_logging
configure_logging("INFO", "{form}")
for number in range(100):
    logging.getLogger("service").info("line %d", number)
print("still here")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize("form", ["json", "text"])
def test_a_log_that_cannot_be_written_stops_nothing(form):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", LOGGING.format(form=form)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stdout == "still here\n"
