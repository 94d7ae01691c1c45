"""Live while things fail: the network, the computer that shows it, the service, the line itself."""

import asyncio
import threading
from contextlib import contextmanager

import psutil
import pytest

from service.settings import (
    ArchiveSettings,
    DeliverySettings,
    HttpSettings,
    Settings,
    VersionSettings,
)
from service.settings.sinks import WebhookSettings
from tests.service.conftest import running
from tests.service.console.test_browser import look
from tests.service.console.test_live import inspect, strip
from tests.service.live import serving
from tests.service.station.proxy import Proxy


@contextmanager
def proxied(url):
    """Forward to a service from another port; yields the port's URL, and how to cut and mend it."""
    loop, proxy = asyncio.new_event_loop(), Proxy(url)
    opened, done, address = threading.Event(), asyncio.Event(), []

    async def forward():
        async with proxy.listening() as listening:
            address.append(listening)
            opened.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(forward()))
    thread.start()
    opened.wait()

    def mend():
        proxy.is_away = False

    try:
        yield address[0], lambda: loop.call_soon_threadsafe(proxy.go), mend
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def shows(browser, key, ids):
    """Wait until a place has these parts as its last, and has counted each once."""
    browser.until(lambda: strip(browser, key) == ids[::-1][:30], "parts")
    assert browser.text(f"[data-key='{key}'] [data-count=total]") == str(len(ids))


def test_a_lost_network_loses_no_part_and_repeats_none(chromium_process, plain, image):
    browser = chromium_process
    browser.clear()
    with proxied(plain.url) as (url, cut, mend), plain.client() as client:
        browser.open(f"{url}/console/live")
        ids = [inspect(client, image, n, "CUT") for n in range(3)]
        shows(browser, "station:CUT", ids)
        cut()
        browser.until(lambda: browser.one("[data-link=lost]").is_displayed(), "lost connection")
        ids += [inspect(client, image, n, "CUT", "nut") for n in range(3, 6)]
        assert strip(browser, "station:CUT") == ids[:3][::-1]
        mend()
        shows(browser, "station:CUT", ids)
        assert browser.one("[data-link=live]").is_displayed()
        browser.open("about:blank")
    assert [message for message in browser.errors() if "ERR_" not in message] == []


def test_a_computer_that_slept_misses_no_part(browser, plain, image):
    browser.open(f"{plain.url}/console/live")
    with plain.client() as client:
        ids = [inspect(client, image, 0, "SLEEP")]
        shows(browser, "station:SLEEP", ids)
        asleep = psutil.Process(browser.driver.service.process.pid).children(recursive=True)
        for process in asleep:
            process.suspend()
        try:
            ids += [inspect(client, image, n, "SLEEP") for n in range(1, 40)]
        finally:
            for process in asleep:
                process.resume()
    shows(browser, "station:SLEEP", ids)


def test_a_lone_stream_does_not_hold_the_exit(weights, tmp_path):
    settings = {"versions__state_dir": tmp_path / "state", "http__shutdown_grace_s": 0}
    with serving(weights, **settings) as live:
        with live.client() as client, client.stream("GET", "/console/live/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 1000"
            live.process.terminate()
            assert "event: state" in list(lines)  # whole until its end, not cut off
        assert live.await_end() == 0


@pytest.fixture
def troubled(tmp_path, browser):
    """A service without a checkpoint, whose disk is full, with a sink that nobody listens to."""
    secret = tmp_path / "secret"
    secret.write_text("a secret of some length")
    secret.chmod(0o600)
    sink = WebhookSettings(type="webhook", url="http://127.0.0.1:9/", secret_file=secret)
    settings = Settings(
        versions=VersionSettings(weights_dir=tmp_path / "none", state_dir=tmp_path / "state"),
        archive=ArchiveSettings(min_free_bytes=2**60),
        delivery=DeliverySettings(sinks={"mes": sink}),
        http=HttpSettings(shutdown_grace_s=0),
    )
    (tmp_path / "none").mkdir()
    with running(settings) as server:
        yield server
        browser.open("about:blank")  # ends the stream


@pytest.mark.slow
def test_each_alarm_says_what_is_wrong(troubled, browser):
    browser.open(f"{troubled.url}/console/live")
    told = {"told": "UNDECIDED", "told_reason": "input-problem: black image", "station": "EL-1"}
    with troubled.client() as client:
        for _ in range(3):
            answer = client.post("/inspections", params={"category": "bolt", **told})
            assert answer.status_code in {200, 201}, answer.text
    drift = troubled.app.state.service.metrics.drift_alarm
    drift.labels(category="bolt", model="parts", version="1", reason="shape").set(1)
    alarms = (
        "The service cannot inspect", "The disk is nearly full", "A sink gets no results: mes",
        "Scores have drifted: bolt", "The camera gives no usable images: EL-1",
    )  # fmt: skip
    for alarm in alarms:
        browser.until(lambda alarm=alarm: alarm in browser.text("#state"), alarm)
    said = "return document.getElementById('alarmed').textContent"
    spoken = browser.driver.execute_script(said)  # the newest: those of the start are on the page
    assert any(alarm in spoken for alarm in alarms[2:]), spoken
    assert browser.text("[data-key='station:EL-1'] [data-count=INPUT]") == "3"
    assert browser.all("[data-count=UNDECIDED]") == []
    look(browser, "alarms")
    browser.open(f"{troubled.url}/console/live")  # counted by the journal's rows
    assert browser.text("[data-key='station:EL-1'] [data-count=INPUT]") == "3"


@pytest.mark.slow
def test_live_says_what_to_do_before_the_first_part(troubled, browser):
    browser.open(troubled.url)
    assert browser.driver.current_url == f"{troubled.url}/console/try"
    for page in ("live", "history"):
        browser.open(f"{troubled.url}/console/{page}")
        steps = browser.text(".steps")
        assert f"curl '{troubled.url}/detect?category=CATEGORY' --data-binary @part.png" in steps
        look(browser, f"nothing-{page}")
