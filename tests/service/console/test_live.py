"""Live: every part once, also after a reload, a restart of the service and a lost connection."""

import json
import re
import time

import pytest

from service.access.keys import add_key, remove_key
from service.http.declaration import Scope
from tests.service.console.browser import foreign
from tests.service.console.test_browser import look
from tests.service.console.test_pages import sign_in
from tests.service.live import serving


def inspect(client, image, seed, station, category="bolt"):
    fields = {"category": category, "station": station, "part_id": f"p-{seed}", "origin": "line"}
    answer = client.post("/detect", params=fields, content=image(seed=seed))
    return answer.json()["inspection_id"]


def test_streams_and_files_do_not_count_as_requests(plain):
    with plain.client() as client:
        assert client.get("/console/static/console.css").status_code == 200
        assert client.get("/console/live").status_code == 200
        with client.stream("GET", "/console/live/events") as answer:
            next(answer.iter_lines())
        exported = client.get("/metrics").text
    assert 'mambaad_requests_total{code="200",route="/console/live"}' in exported
    for route in ("/console/static/{name}", "/console/live/events"):
        assert f'route="{route}"' not in exported


def events_of(lines, count):
    """Return the next `count` events of a stream, as (kind, id, data)."""
    found, event = [], {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif "event" in event:
            if event["event"] != "beat":
                data = json.loads(event["data"])
                found.append((event["event"], event.get("id"), data))
            event = {}
            if len(found) == count:
                return found
    return found


def strip(browser, key):
    script = """
      const tiles = [...document.querySelectorAll("[data-key]")];
      const tile = tiles.find((one) => one.dataset.key === arguments[0]);
      return tile ? [...tile.querySelectorAll("[data-part]")].map((one) => one.dataset.part) : [];
    """
    return browser.driver.execute_script(script, key)


def test_a_stream_goes_on_where_it_was_left(plain, image):
    with plain.client() as client:
        inspect(client, image, 1, "S-1")
        with client.stream("GET", "/console/live/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            first = events_of(lines, 1)
            while first[-1][0] != "state":
                first += events_of(lines, 1)
            cursor = first[-1][1]
            assert all(identifier is None for kind, identifier, _ in first if kind == "tile")
        one, two = inspect(client, image, 2, "S-1"), inspect(client, image, 3, "S-2")
        with client.stream(
            "GET", "/console/live/events", headers={"Last-Event-ID": cursor}
        ) as answer:
            tiles = {data["key"]: data["html"] for _, _, data in events_of(answer.iter_lines(), 2)}
    assert set(tiles) == {"station:S-1", "station:S-2"}
    assert re.findall(r'data-part="([^"]+)"', tiles["station:S-1"])[0] == one
    assert re.findall(r'data-part="([^"]+)"', tiles["station:S-2"]) == [two]


def test_a_stream_ends_with_its_key(keyed, secrets, keys_file, monkeypatch):
    monkeypatch.setattr("service.console.live._BEAT_S", 0.1)
    secret = add_key(keys_file, "leaving", [Scope.READ])
    with keyed.client() as client:
        deadline = time.monotonic() + 60
        while sign_in(client, secret).status_code != 303:  # the service reads the file each second
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with client.stream("GET", "/console/live/events") as answer:
            lines = answer.iter_lines()
            events_of(lines, 1)
            remove_key(keys_file, "leaving")
            for _ in lines:
                assert time.monotonic() < deadline
        assert client.get("/console/live/events").status_code == 401


def test_live_shows_parts_as_they_come(browser, plain, image):
    browser.open(f"{plain.url}/console/live")
    with plain.client() as client:
        ids = [
            inspect(client, image, 100 + n, "EL-9", "nut" if n % 2 else "bolt") for n in range(5)
        ]
        browser.until(lambda: strip(browser, "station:EL-9") == ids[::-1], "the parts")
        tile = browser.one('[data-key="station:EL-9"]')
        assert tile.find_element("css selector", ".word").text == "OK"
        assert tile.find_element("css selector", "[data-count=NG]").text == "2"
        assert tile.find_element("css selector", "[data-count=rate]").text == "40.0%"
        ids.append(inspect(client, image, 111, "EL-9", "nut"))
        browser.until(lambda: browser.text('[data-key="station:EL-9"] .word') == "NG", "NG")
        said = "return document.getElementById('announced').textContent"
        browser.until(  # one in two seconds at most
            lambda: browser.driver.execute_script(said).startswith("EL-9: NG: p-1"), "the words"
        )
        bad = {"category": "bolt", "station": "EL-8", "origin": "line"}
        for _ in range(3):
            client.post("/detect", params=bad, content=b"no image")
        browser.until(
            lambda: "INPUT PROBLEM" in browser.text('[data-key="station:EL-8"] .word'), "problem"
        )
        assert browser.text('[data-key="station:EL-8"] [data-count=INPUT]') == "3"
        browser.until(
            lambda: "The camera gives no usable images: EL-8" in browser.text("#state"), "alarm"
        )
    look(browser, "live")
    browser.open(f"{plain.url}/console/live")
    assert strip(browser, "station:EL-9") == ids[::-1]
    browser.one('[data-key="station:EL-9"] .enlarge').click()
    browser.until(lambda: "/screen" in browser.driver.current_url, "full screen")
    browser.one("body.screen")
    assert len(browser.all("[data-key]")) == 1
    assert browser.all("nav") == []
    look(browser, "screen")
    assert foreign(browser.requests(), plain.url) == []


def test_tabs_share_one_stream(browser, plain, image):
    browser.requests()
    browser.open(f"{plain.url}/console/live")
    browser.until(lambda: browser.all("[data-link=live]"), "connection")
    first = browser.driver.current_window_handle
    browser.until(lambda: _streams(plain) == 1, "one stream")
    browser.driver.switch_to.new_window("tab")
    browser.open(f"{plain.url}/console/live")
    with plain.client() as client:
        newest = inspect(client, image, 200, "TAB")
    browser.until(lambda: strip(browser, "station:TAB")[:1] == [newest], "part in the second tab")
    assert _streams(plain) == 1
    browser.driver.close()
    browser.driver.switch_to.window(first)
    browser.until(lambda: strip(browser, "station:TAB")[:1] == [newest], "part in the first tab")


def _streams(server):
    """Requests in progress, without that for the metrics."""
    return server.metric("mambaad_requests_in_progress") - 1


@pytest.mark.slow
def test_a_restart_of_the_service_loses_no_part_and_repeats_none(
    chromium_process, weights, tmp_path, image
):
    browser, state = chromium_process, tmp_path / "state"
    browser.clear()
    ids = []
    with serving(weights, versions__state_dir=state, http__shutdown_grace_s=0) as live:
        port = live.url.rpartition(":")[2]
        browser.open(f"{live.url}/console/live")
        with live.client() as client:
            ids += [inspect(client, image, n, "EL-1") for n in range(4)]
        browser.until(lambda: strip(browser, "station:EL-1") == ids[::-1], "parts before")
        started = time.monotonic()
        assert live.stop() == 0
        assert time.monotonic() - started < 20  # the stream does not hold the exit for its grace
    browser.until(lambda: browser.one("[data-link=lost]").is_displayed(), "lost connection")
    with serving(weights, versions__state_dir=state, http__port=port) as live:
        with live.client() as client:
            ids += [inspect(client, image, n, "EL-1", "nut") for n in range(4, 7)]
        browser.until(lambda: strip(browser, "station:EL-1") == ids[::-1], "parts after")
        assert browser.one("[data-link=live]").is_displayed()
        assert browser.text("[data-key='station:EL-1'] [data-count=total]") == "7"
    browser.open("about:blank")
    lost = [message for message in browser.errors() if "ERR_" not in message]
    assert lost == []
