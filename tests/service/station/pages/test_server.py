"""The page over real connections: access, live updates, probes, and what a flood does not do."""

import asyncio
import json
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.station.machine.faults import ErrorCode
from service.station.machine.states import State
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict
from service.station.pages.server import CannotListen, StatusPages
from service.station.reports import ScheduleState, Warming
from tests.service.station.pages.shown import HOSTILE, VITALS, settings_of, shown


def get(station, path, **headers):
    return httpx.get(station.pages.url + path.lstrip("/"), headers=headers, timeout=20)


def status_of(station):
    return get(station, "/status.json").json()


def eventually(condition, what):
    limit_s = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < limit_s, what
        time.sleep(0.02)
    return value


class Browser:
    """A browser's stream of live updates."""

    def __init__(self, station):
        self._stream = httpx.stream("GET", station.pages.url + "events", timeout=20)
        self.answer = self._stream.__enter__()
        self._lines = self.answer.iter_lines()

    def next(self):
        """Return the next event's name and data; None at the end of the stream."""
        name, data = "message", None
        for line in self._lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data:"):
                data = line.removeprefix("data:").strip()
            elif data is not None:
                return name, json.loads(data) if data else None
        return None

    def until(self, fragment, text):
        """Read until a fragment has a text; return how many messages that took."""
        for count in range(1, 100):
            _, fragments = self.next()
            if text in fragments.get(fragment, ""):
                return count
        raise AssertionError(f"no {text} in {fragment}")

    def close(self):
        self._stream.__exit__(None, None, None)


def test_the_page_shows_all_that_the_line_was_told_without_a_script():
    with shown() as station:
        station.step(plc_trigger_enable=True, plc_trigger=True, busy=True, trigger_ack=True)
        station.tell(1)
        station.tell(2, Outcome(Verdict.UNDECIDED, Reason.SERVICE_AWAY, FailSafe.NG))
        station.vitals = replace(VITALS, errors=(ErrorCode.MISSED_TRIGGER,))
        page = get(station, "/").text
    for text in ("EL-3", "cell-1", "cell-2", "UNDECIDED", "the service does not answer",
                 "treat it as NG", "MISSED TRIGGER", "TriggerAck", "0.125", "cells"):  # fmt: skip
        assert text in page
    assert "http-equiv" in page.partition("<noscript>")[2].partition("</noscript>")[0]
    assert "<style" not in page
    assert "style=" not in page
    assert page.count("<script") == 1


def test_the_status_for_programs_has_the_bits_the_results_and_the_counts():
    with shown() as station:
        for on in (True, False, True):
            station.step(plc_trigger=on, busy=on)
        station.tell(1)
        station.tell(2, Outcome(Verdict.NG, score=0.9), told_ms=184.0)
        status = status_of(station)
    bits = {bit["name"]: bit for side in status["bits"].values() for bit in side}
    assert (bits["Trigger"]["is_on"], bits["Trigger"]["rises"]) == (True, 2)
    assert (bits["Busy"]["rises"], bits["Overrun"]["is_on"]) == (2, False)
    assert [result["part_id"] for result in status["results"]] == ["cell-2", "cell-1"]
    assert status["counts"]["verdicts"] | {"OK": 1, "NG": 1} == status["counts"]["verdicts"]
    assert status["counts"]["missed_triggers"] == 1
    assert status["takt_ms"]["stages"]["told"]["latest"] == 184.0
    assert status["recipe"]["name"] == "cells"
    registers = {row["name"]: row for row in status["registers"]["station"]}
    assert (registers["State"]["value"], registers["State"]["word"]) == (5, "READY")


def test_only_the_latest_20_results_are_kept_with_their_pictures(image):
    with shown() as station:
        for job in range(1, 26):
            content = image(width=400, height=200, seed=job)
            station.tell(job, images={"top": content} if job in (1, 25) else {})
        status = eventually(
            lambda: (now := status_of(station))["results"][0]["pictures"] and now, "the picture"
        )
        assert [result["job"] for result in status["results"]] == list(range(25, 5, -1))
        (picture,) = status["results"][0]["pictures"]
        assert (picture["width"], picture["height"]) == (160, 80)
        for size in ("small", "large"):
            answer = get(station, picture[size])
            assert answer.headers["Content-Type"] == "image/jpeg"
            assert answer.content.startswith(b"\xff\xd8")
        assert picture["large"] in get(station, "/parts/25").text
        assert get(station, "/parts/1").status_code == 404
        assert get(station, "/pictures/1/top/small.jpg").status_code == 404
        assert get(station, "/pictures/25/top/huge.jpg").status_code == 404
        assert get(station, "/static/..%2fserver.py").status_code == 404


def test_an_image_that_cannot_be_read_has_no_picture_and_harms_no_other(image):
    with shown() as station:
        station.tell(1, images={"top": b"no image"}, cameras=("top", "side"))
        station.tell(2, images={"side": image()}, cameras=("top", "side"))
        eventually(lambda: status_of(station)["results"][0]["pictures"], "the picture")
        assert status_of(station)["results"][1]["pictures"] == []


def test_nothing_from_outside_becomes_html():
    with shown() as station:
        station.tell(1, part_id=HOSTILE)
        station.step(plc_part_id=HOSTILE)
        pages = get(station, "/").text + get(station, "/parts/1").text
        browser = Browser(station)
        _, fragments = browser.next()
        browser.close()
        assert status_of(station)["results"][0]["part_id"] == HOSTILE
    assert "&lt;script&gt;alert(2)" in pages
    for text in (pages, *fragments.values()):
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_a_browser_gets_everything_first_and_then_only_the_changes():
    with shown() as station:
        browser = Browser(station)
        _, first = browser.next()
        assert {"head", "bits", "verdict", "results", "counts"} <= first.keys()
        station.tell(1)
        browser.until("verdict", "cell-1")
        station.step(plc_trigger=True)
        _, changed = browser.next()
        while "bits" not in changed:
            _, changed = browser.next()
        assert not {"verdict", "results", "takt"} & changed.keys()
        browser.close()


def test_a_browser_gets_at_most_ten_messages_a_second():
    with shown() as station:
        browser = Browser(station)
        browser.next()
        stop = threading.Event()

        def steps():
            while not stop.wait(0.001):
                station.step(busy=not station.image.busy)

        stepping = threading.Thread(target=steps)
        stepping.start()
        began_s = time.monotonic()
        for _ in range(15):
            browser.next()
        took_s = time.monotonic() - began_s
        stop.set()
        stepping.join()
        browser.close()
    assert took_s > 14 * 0.1


def test_live_updates_end_at_once_when_the_station_ends():
    with shown() as station:
        browsers = [Browser(station) for _ in range(3)]
        for browser in browsers:
            browser.next()
    for browser in browsers:
        while (event := browser.next()) and event[0] != "end":
            pass
        assert event == ("end", None)
        assert browser.next() is None
        browser.close()


def test_a_browser_too_many_gets_no_live_updates_until_another_goes():
    with shown(settings_of(status={"max_browsers": 2})) as station:
        browsers = [Browser(station) for _ in range(3)]
        assert [browser.answer.status_code for browser in browsers] == [200, 200, 503]
        assert get(station, "/").status_code == 200
        browsers[0].close()

        def another():
            browser = Browser(station)
            browsers.append(browser)
            return browser.answer.status_code == 200

        eventually(another, "a place")
        for browser in browsers[1:]:
            browser.close()


def test_a_network_that_is_not_allowed_gets_403_for_everything():
    with shown(settings_of(status={"allow": ["10.0.0.0/8"]})) as station:
        for path in ("/", "/status.json", "/metrics", "/events", "/live", "/static/page.js"):
            answer = get(station, path)
            assert (answer.status_code, "status.allow" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:8030", 200),
        ("localhost", 200),
        ("[::1]:8030", 200),
        ("EL3.plant:8030", 200),
        (socket.gethostname(), 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8030", 403),
        ("", 403),
    ],
)
def test_a_host_name_that_is_not_of_this_host_gets_403(host, code):
    """A web page elsewhere may have its own name point here."""
    with shown(settings_of(status={"names": ["el3.plant"]})) as station:
        assert get(station, "/status.json", Host=host).status_code == code


def test_every_answer_has_the_headers_of_safety():
    with shown() as station:
        for path in ("/", "/nonesuch", "/static/page.js"):
            headers = get(station, path).headers
            assert headers["Content-Security-Policy"].startswith("default-src 'self';")
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "Server" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_page_takes_nothing(method):
    with shown() as station:
        for path in ("", "status.json", "events", "parts/1"):
            assert httpx.request(method, station.pages.url + path).status_code == 405


def test_the_probes_follow_the_station():
    with shown() as station:
        assert get(station, "/live").status_code == get(station, "/ready").status_code == 200
        station.step(state=State.ERROR, ready=False)
        assert get(station, "/ready").status_code == 503
        assert "ERROR" in get(station, "/ready").text
        station.step(state=State.READY, online=False)
        assert get(station, "/ready").status_code == 503


def test_a_station_that_makes_no_steps_is_neither_live_nor_ready():
    with shown(settings_of(times={"heartbeat_ms": 1})) as station:
        assert get(station, "/live").status_code == 200
        eventually(lambda: get(station, "/live").status_code == 503, "standstill")
        assert get(station, "/ready").status_code == 503
        assert "STANDS STILL" in get(station, "/").text
        station.step()
        assert get(station, "/live").status_code == 200


def test_a_plc_whose_watched_heartbeat_stands_still_is_down():
    with shown(settings_of(times={"plc_timeout_ms": 200})) as station:
        assert status_of(station)["connections"]["plc"]["is_up"] is False
        station.step(plc_heartbeat=1)
        assert status_of(station)["connections"]["plc"]["is_up"] is True
        eventually(lambda: not status_of(station)["connections"]["plc"]["is_up"], "down")


def test_a_door_without_lasting_connections_is_never_down():
    with shown(settings_of(plc={"http": {}})) as station:
        station.vitals = replace(VITALS, plc_clients=0)
        assert status_of(station)["connections"]["plc"]["is_up"] is None
        assert "\nmambaad_station_plc_up 1.0\n" in get(station, "/metrics").text


def test_the_schedule_is_shown_in_its_zone():
    entries = [{"at": "05:45", "recipe": 1}]
    warming = Warming(1, datetime(2026, 11, 26, 4, 45, tzinfo=UTC), is_done=False, text="no answer")
    state = ScheduleState(datetime(2026, 11, 27, 4, 45, tzinfo=UTC), 1, warming)
    with shown(settings_of(schedule=entries, time_zone="Europe/Berlin")) as station:
        station.vitals = replace(VITALS, schedule=state)
        schedule = status_of(station)["schedule"]
        assert schedule["next_at"] == "2026-11-27T05:45:00+01:00"
        assert schedule["latest"]["is_done"] is False
        page = get(station, "/").text
    assert "Fri 27 Nov, 05:45" in page
    assert "NOT warmed: no answer" in page


def test_a_camera_is_up_by_its_connection_and_by_its_latest_image():
    with shown() as station:
        cameras = lambda: status_of(station)["connections"]["cameras"]  # noqa: E731
        assert cameras() == {"top": None}
        station.tell(1, images={"top": b"x"})
        assert cameras() == {"top": True}
        station.tell(2, Outcome(Verdict.UNDECIDED, Reason.CAMERA_SILENT))
        assert cameras() == {"top": False}
        station.tell(3, images={"top": b"x"})
        station.vitals = replace(VITALS, cameras_up={"top": False})
        assert cameras() == {"top": False}


def test_the_metrics_are_those_of_the_line():
    with shown() as station:
        station.tell(1)
        station.tell(2, Outcome(Verdict.UNDECIDED, Reason.DEADLINE), decided_ms=None)
        station.vitals = replace(VITALS, errors=(ErrorCode.OVERRUN,), triggers=7)
        get(station, "/metrics")
        text = get(station, "/metrics").text
    values = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["mambaad_station_triggers_total",] == 7
    assert values["mambaad_station_missed_triggers_total",] == 1
    assert values["mambaad_station_results_total", "none", "OK"] == 1
    assert values["mambaad_station_results_total", "deadline", "UNDECIDED"] == 1
    assert values["mambaad_station_results_total", "none", "NG"] == 0
    assert values["mambaad_station_takt_seconds_count", "told"] == 2
    assert values["mambaad_station_takt_seconds_count", "decided"] == 1
    assert values["mambaad_station_error_latched", "OVERRUN"] == 1
    assert values["mambaad_station_error_latched", "STOPPED"] == 0
    assert values["mambaad_station_spool_parts",] == 2
    assert values["mambaad_station_plc_up",] == 1
    assert values["mambaad_station_service_up",] == 0
    assert ("process_resident_memory_bytes",) in values


def test_the_service_is_asked_whether_it_is_ready(server):
    with shown(service=server.url) as station:
        service = lambda: status_of(station)["connections"]["service"]  # noqa: E731
        eventually(lambda: service()["is_up"], "the service")
    with shown() as station:
        eventually(lambda: service()["is_up"] is False, "no service")
        assert service()["text"]


def test_a_flood_of_connections_takes_no_more_than_its_share():
    """So that it uses up no file descriptors, which the spool needs."""
    with shown(settings_of(status={"max_browsers": 1})) as station:
        port = int(station.pages.url.rstrip("/").rpartition(":")[2])
        flood = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(80)]

        def ended():
            count = 0
            for connection in flood:
                connection.setblocking(False)
                try:
                    count += connection.recv(1) == b""
                except BlockingIOError:
                    pass
                except ConnectionResetError:
                    count += 1
            return count

        eventually(lambda: ended() >= 80 - 41, "the end of those too many")
        for connection in flood:
            connection.close()
        eventually(lambda: get_or_none(station), "the page")


def get_or_none(station):
    try:
        return get(station, "/live").status_code == 200
    except httpx.TransportError:
        return False


def test_a_port_that_is_taken_is_named():
    with shown() as station, pytest.raises(CannotListen, match=r"no status page: .*status\.port"):
        StatusPages(station.pages._settings, lambda: None).listen()


def test_a_watcher_of_a_busy_page_returns_at_once():
    """What the machine's loop pays for a step and for a result, with a page that renders."""

    async def scenario(station):
        browsers = [await asyncio.to_thread(Browser, station) for _ in range(5)]
        for number in range(500):
            station.step(busy=bool(number % 2))
        station.tell(1)
        for browser in browsers:
            await asyncio.to_thread(browser.until, "verdict", "cell-1")
            browser.close()
        return status_of(station)

    with shown() as station:
        status = asyncio.run(scenario(station))
    bits = {bit["name"]: bit["rises"] for bit in status["bits"]["station"]}
    assert bits["Busy"] == 250
