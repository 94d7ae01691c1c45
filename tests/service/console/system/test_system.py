"""System: what it shows, who may see and change it, what is audited, what stays hidden."""

import asyncio
import html
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from service.access.keys import add_key, read_keys
from service.console.system.differences import differences
from service.console.system.runbooks import FILE, RUNBOOKS, html_of
from service.http.declaration import Scope
from service.settings import ArchiveSettings, DeliverySettings, HttpSettings, Settings
from service.versions.changes import Author
from tests.service.console.system.conftest import HOSTILE
from tests.service.console.system.runbook_data import made
from tests.service.console.test_pages import HTML, sign_in, token_in

SECTIONS = (
    "", "/workers", "/alerts", "/alerts/MambaadNotReady", "/deliveries", "/deliveries/state",
    "/drift", "/storage", "/keys", "/audit", "/versions",
)  # fmt: skip
WHY = "it was lost"


def page(client, section=""):
    answer = client.get(f"/console/system{section}", headers=HTML)
    assert answer.status_code == 200, text_of(answer)[-500:]
    return answer


def text_of(answer):
    """Return what a person reads."""
    bare = re.sub(r"<(?:script|title)[^>]*>.*?</(?:script|title)>|<[^>]+>", " ", answer.text)
    return " ".join(html.unescape(bare).split())


def send(client, address, **fields):
    token = token_in(page(client, "/versions"))
    return client.post(
        f"/console/system{address}", data={"token": token, "reason": WHY, **fields}, headers=HTML
    )


@pytest.fixture
def engineer(system):
    with system.client() as client:
        yield client


@pytest.mark.parametrize("name", ["viewer", "operator"])
def test_only_engineers_see_and_change_the_system(system, name):
    with system.client(name) as client:
        for section in SECTIONS:
            answer = client.get(f"/console/system{section}", headers=HTML)
            assert answer.status_code == 403, section
        for address in ("keys/viewer/withdraw", "deliveries/hook/now", "deliveries/hook/replay"):
            assert client.post(f"/console/system/{address}", headers=HTML).status_code == 403
        assert 'href="/console/system"' not in client.get("/console/live", headers=HTML).text


def test_from_another_machine_without_tls_nobody_is_an_engineer(system):
    async def ask():
        transport = httpx.ASGITransport(system.server.app, client=("192.0.2.7", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://line") as client:
            form = await client.get("/console/sign-in", headers=HTML)
            key = {"token": token_in(form), "key": system.secrets["engineer"]}
            assert (await client.post("/console/sign-in", data=key)).status_code == 303
            return [
                (await client.get(f"/console/system{section}", headers=HTML)).status_code
                for section in SECTIONS
            ]

    assert set(asyncio.run(ask())) == {403}


def test_every_section_is_shown_and_nothing_hostile_is_code(engineer):
    for section in SECTIONS:
        answer = page(engineer, section)
        assert "<script>alert" not in answer.text, section
        assert "<b>gone" not in answer.text, section
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", answer.text), section
    shown = [page(engineer, section).text for section in ("", "/deliveries")]
    assert all('alert("system")' in html.unescape(text) for text in shown)


def test_workers_are_followed_without_counting_as_clicks(system, engineer):
    whole, part = page(engineer), page(engineer, "/workers")
    assert 'hx-trigger="every 5s"' in whole.text
    assert "set-cookie" not in part.headers
    assert "<html" not in part.text
    (worker,) = system.server.app.state.service.workers.status()
    assert f"Worker {worker.name}" in part.text
    for word in (
        "Spare process",
        "Images waiting",
        "Restarts",
        "Memory",
        "Latency, 95th percentile",
    ):
        assert word in text_of(part)


def test_stations_are_those_of_the_archive(engineer):
    text = text_of(page(engineer))
    assert re.search(r"EL-1 NG (?:good|bad) [\d.]+ (?:s|min) 2 0\.0%", text), text
    assert f"EL {HOSTILE}" in text
    assert "are on the page of each station" in text


def test_sinks_and_their_dead_letters_are_shown(engineer, eventually):
    eventually(lambda: "held" in text_of(page(engineer, "/deliveries/state")), "the held sink")
    text = text_of(page(engineer, "/deliveries"))
    assert f"HTTP 422: {HOSTILE}" in text
    assert "Dead letters 1" in text
    assert re.search(r"away folder (?:held|tries again)", text)


def test_sending_again_is_audited_and_reaches_the_sink(system, engineer, eventually):
    token_less = engineer.post("/console/system/deliveries/hook/dead-letters")
    assert token_less.status_code == 403
    assert send(engineer, "/deliveries/hook/dead-letters", reason=" ").status_code == 422
    assert send(engineer, "/deliveries/nobody/dead-letters").status_code == 404
    before = len(system.receiver.seen)
    assert send(engineer, "/deliveries/hook/now").status_code == 303
    answer = send(engineer, "/deliveries/hook/dead-letters")
    assert answer.headers["location"] == "/console/system/deliveries?done=dead-letters"
    eventually(lambda: len(system.receiver.seen) > before, "the dead letter again")
    day = timedelta(days=1)
    since = f"{datetime.now(UTC) - day:%Y-%m-%dT%H:%M}"
    for wrong in ("soon", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"):
        assert send(engineer, "/deliveries/hook/replay", since=wrong).status_code == 422
    turned = {"since": since, "until": f"{datetime.now(UTC) - 2 * day:%Y-%m-%dT%H:%M}"}
    assert send(engineer, "/deliveries/hook/replay", **turned).status_code == 422
    before = len(system.receiver.seen)
    assert send(engineer, "/deliveries/hook/replay", since=since).status_code == 303
    eventually(lambda: len(system.receiver.seen) >= before + 3, "the events again")
    replayed, letters = list(system.audit)[:-3:-1]
    assert (letters.action, letters.subject, letters.who) == ("dead-letters", "hook", "engineer")
    assert (replayed.action, replayed.reason) == ("replay", WHY)
    assert replayed.after["since"].startswith(since)


@pytest.fixture
def leaving(system):
    with system.server.client() as client:
        yield client


def test_a_withdrawn_key_ends_its_sessions_within_a_second(system, engineer, leaving, eventually):
    system.secrets["leaving"] = secret = add_key(system.keys, "leaving", [Scope.READ])
    eventually(lambda: sign_in(leaving, secret).status_code == 303, "the new key")
    assert leaving.get("/console/live", headers=HTML).status_code == 200
    listed = text_of(page(engineer, "/keys"))
    assert re.search(r"leaving read .*?Last used \w{3} \d", listed), listed
    hashes = [key.sha256 for key in read_keys(system.keys)]
    assert not any(sha256 in page(engineer, "/keys").text for sha256 in hashes)
    assert send(engineer, "/keys/leaving/withdraw", reason="").status_code == 422
    assert send(engineer, "/keys/leaving/withdraw").status_code == 303
    withdrawn = datetime.now(UTC)
    ended = lambda: leaving.get("/console/live", headers=HTML).status_code == 303  # noqa: E731
    eventually(ended, "the end of the session")
    assert datetime.now(UTC) - withdrawn < timedelta(seconds=30)  # a busy machine; else one second
    record = system.audit[-1]
    assert (record.action, record.subject, record.who) == ("key-withdrawn", "leaving", "engineer")
    assert (record.reason, record.after) == (WHY, {"scopes": "read"})
    assert send(engineer, "/keys/leaving/withdraw").status_code == 409


def test_the_own_key_needs_a_confirmation(system, engineer):
    count = len(system.audit)
    assert send(engineer, "/keys/engineer/withdraw").status_code == 409
    assert "engineer" in {key.name for key in read_keys(system.keys)}
    assert len(system.audit) == count
    assert "this ends my session" in text_of(page(engineer, "/keys"))


def test_a_keys_file_that_cannot_be_written_is_named(system, engineer, monkeypatch):
    monkeypatch.setattr("service.console.system.keys.os.access", lambda path, mode: False)
    text = page(engineer, "/keys").text
    assert "may not write the file" in text
    assert "/withdraw" not in text


def test_a_keys_file_that_refuses_the_change_leaves_no_record(system, engineer, monkeypatch):
    def refuse(path, keys):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr("service.access.keys.write_keys", refuse)
    count = len(system.audit)
    answer = send(engineer, "/keys/viewer/withdraw")
    assert answer.status_code == 409
    assert "Device or resource busy" in answer.text
    assert len(system.audit) == count


def test_without_keys_the_page_says_so(plain):
    with plain.client() as client:
        assert "There is no keys file" in text_of(page(client, "/keys"))
        assert send(client, "/keys/ada/withdraw", who="Ada").status_code == 409


def test_the_audit_writes_routes_for_people(system, engineer):
    rollout = system.server.app.state.service.rollout
    stable, canary = ({"name": "bolts", "version": number} for number in "45")
    values = {"stable": stable, "canary": {"checkpoint": canary, "share": 0.25}, "shadow": None}
    by = Author("Routing", WHY, "pager", "r-1")
    asyncio.run(rollout.record("replay", "hook", by, lambda: None, **values))
    shown = text_of(page(engineer, "/audit?who=routing"))
    assert "After stable bolts/4, canary bolts/5 25.0%, shadow" in shown


def test_the_audit_is_filtered_and_paged(system, engineer):
    rollout = system.server.app.state.service.rollout

    async def note():
        for number in range(55):
            by = Author("Paged", f"no {number} {HOSTILE}", "pager", f"r-{number}")
            await rollout.record("replay", f"sink-{number}", by, lambda: None, since="2026-01-01")

    asyncio.run(note())
    newest = page(engineer, "/audit?who=paged")
    assert newest.text.count('<li class="card">') == 50
    older = re.search(r'href="(/console/system/audit\?[^"]*before=[^"]*)"', newest.text)[1]
    rest = engineer.get(html.unescape(older), headers=HTML)
    assert rest.text.count('<li class="card">') == 5
    reasons = re.findall(r"no (\d+) <script>", text_of(newest) + text_of(rest))
    assert reasons == [str(n) for n in range(54, -1, -1)]
    one = text_of(page(engineer, "/audit?about=SINK-7&action=replay"))
    assert "sink-7" in one
    assert "sink-6" not in one
    assert "No change has all these values." in text_of(page(engineer, "/audit?action=route"))
    assert "<script>alert" not in newest.text


def test_alerts_that_hold_come_first_and_lead_to_their_runbooks(engineer, eventually):
    def held():
        before = text_of(page(engineer, "/alerts")).partition("All others")[0]
        return before if "MambaadSinkHeld" in before else None

    text = eventually(held, "the held sink")
    assert "away" in text
    assert "only Prometheus can tell" not in text
    shown = page(engineer, "/alerts/MambaadSinkHeld")
    assert "mambaad deliveries retry SINK" in shown.text
    assert "holds now" in shown.text
    assert engineer.get("/console/system/alerts/Nothing", headers=HTML).status_code == 404
    assert (
        'href="/console/system/alerts/MambaadSinkHeld"'
        in engineer.get("/console/live", headers=HTML).text
    )


def test_alarms_of_a_viewer_lead_to_no_runbook(system):
    with system.client("viewer") as viewer:
        live = viewer.get("/console/live", headers=HTML).text
    assert "A sink gets no results" in live
    assert "/console/system" not in live


def test_the_runbooks_are_those_of_the_documents():
    assert FILE.read_text("utf-8") == made(), (
        "run python -m tests.service.console.system.runbook_data"
    )


def test_every_runbook_is_html_without_foreign_code():
    for runbook in RUNBOOKS.values():
        shown = html_of(runbook, "/console/system/alerts")
        assert set(re.findall(r'href="([^"]*)"', shown)) <= {
            f"/console/system/alerts/{quote(name)}" for name in RUNBOOKS
        }
    hostile = type(runbook)("x", f"{HOSTILE} <img src=x onerror=alert(1)> ![a](b)")
    assert "<script" not in html_of(hostile, "/")
    assert "<img" not in html_of(hostile, "/")


def test_storage_says_what_is_kept_and_what_limits_it(engineer, eventually):
    text = text_of(page(engineer, "/storage"))
    for word in ("Free disk space", "Images kept 3", "MAMBAAD_ARCHIVE__ROWS_DAYS 730"):
        assert word in text, text
    assert re.search(r"Oldest image \w{3} \d", text), text
    eventually(lambda: "Last round" in text_of(page(engineer, "/storage")), "the retention's round")


def test_versions_are_shown_and_no_secret_is(system, engineer):
    answer = page(engineer, "/versions")
    text = text_of(answer)
    assert "node-7" in text
    assert "MAMBAAD_DELIVERY__SINKS.hook.url http://127.0.0.1" in text
    assert "T0P5ECRET" not in answer.text
    assert not any(secret in answer.text for secret in system.secrets.values())


def test_differences_hide_passwords_in_addresses(monkeypatch):
    monkeypatch.delenv("MAMBAAD_WORKERS__SPARE")
    hook = {"type": "webhook", "url": "https://mes.example/a/S3CRET?token=S3CRET"}
    settings = Settings(
        archive=ArchiveSettings(
            url="postgresql://ada:S3CRET@db.example:5432/plant?password=S3CRET"
        ),
        delivery=DeliverySettings(
            sinks={"mes": {**hook, "secret_variable": "MES_KEY", "token_file": "token.txt"}}
        ),
        http=HttpSettings(port=9000),
    )
    shown = {one.variable: one.value for one in differences(settings)}
    assert "S3CRET" not in str(shown)
    assert shown["MAMBAAD_ARCHIVE__URL"] == "postgresql://db.example:5432/…"
    assert shown["MAMBAAD_DELIVERY__SINKS.mes.url"] == "https://mes.example/…"
    assert shown["MAMBAAD_DELIVERY__SINKS.mes.secret_variable"] == "MES_KEY"
    assert shown["MAMBAAD_HTTP__PORT"] == "9000"
    assert differences(Settings()) == []


def test_drift_shows_the_latest_scores_and_the_last_day(system, engineer, calibration):
    drift = system.server.app.state.service.drift
    route = system.server.app.state.service.registry.routes[0]
    for raw in [0.2] * 60 + [20.0] * 60:
        drift.note(route.category, route.checkpoint, route.calibration, raw)
    text = text_of(page(engineer, "/drift"))
    assert route.category in text
    assert "Latest parts 120" in text
    assert "NG share by hour" in text
    assert "drifted" in text or "calm" in text
