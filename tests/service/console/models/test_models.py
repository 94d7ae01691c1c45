"""Models: what the pages show, each change of route and memory, who may make it, the browser."""

import asyncio
import html
import json
import re
import shutil
from html.parser import HTMLParser

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from selenium.webdriver.support.ui import Select

from model.calibration.calibration import Calibration
from tests.hostile_manifests import RAW
from tests.service.conftest import is_ready, running
from tests.service.console.browser import foreign
from tests.service.console.conftest import settings_of
from tests.service.console.models.checked import checked
from tests.service.console.test_browser import look
from tests.service.console.test_pages import HOSTILE, HTML, sign_in, token_in

DASH = "\N{EN DASH}"
BOLT = "/console/models/categories/bolt"
REPORT = "<html><style>p{color:red}</style><p>A report</p><script>alert(1)</script></html>"
PAGES = [
    "/console/models",
    "/console/models/list",
    BOLT,
    f"{BOLT}/canary",
    f"{BOLT}/change?stable=parts/1",
    "/console/models/versions/parts/1",
    "/console/models/versions/parts/1/memory",
    "/console/models/versions/parts/1/report",
    "/console/models/versions/parts/1/load",
]
CHANGES = ["/console/models/rescan", "/console/models/memory", f"{BOLT}/route"]


@pytest.fixture(scope="module")
def store(tmp_path_factory, save):
    """Four versions of `parts`, the third finding each bolt NG; a damaged one; strangers' ones."""
    root = tmp_path_factory.mktemp("models") / "weights"
    for bolt in (10.0, 10.0, -10.0, 10.0):
        save(root, "parts", {"bolt": bolt, "nut": -10.0})
    (root / "parts/1/report.html").write_text(REPORT, "utf-8")
    bolt = json.loads(text(root / "parts/2"))["calibrations"]["bolt"]
    change(root / "parts/2", training=checked(Calibration.from_dict(bolt)))
    path = save(root, "rotten", {"bolt": 1.0}) / "network.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    shutil.copytree(root / "parts/1", root / "strange/1")
    change(
        root / "strange/1",
        name="strange",
        calibrations={"cog": json.loads(text(root / "parts/1"))["calibrations"]["bolt"]},
        license=HOSTILE,
        notice=HOSTILE,
        created=HOSTILE,
        software={HOSTILE: HOSTILE},
        training={
            "finished": False,
            "epochs_done": HOSTILE,
            "recipe": {HOSTILE: [HOSTILE], "epochs": {"a": HOSTILE}},
            "images": {"train": {HOSTILE: HOSTILE}, "held_out": [HOSTILE]},
            "seconds": HOSTILE,
            "self_check": {"categories": {HOSTILE: {"methods": {"MambaAD": HOSTILE}}}},
            "recommendation": {"categories": {HOSTILE: {"sentences": [HOSTILE]}}},
        },
        metrics={
            "categories": {HOSTILE: {"image_auroc": HOSTILE, "image_ap": 0.5, "good": HOSTILE}},
            "test_images": HOSTILE,
        },
    )
    (root / '"><img src=x onerror=alert(1)>' / "1").mkdir(parents=True)
    (root / "broken/1").mkdir(parents=True)
    (root / "broken/1/manifest.json").write_text(RAW["@twice"], "utf-8")
    return root


@pytest.fixture(scope="module")
def rolling(store, tmp_path_factory, samples_dir, eventually):
    with running(settings_of(store, tmp_path_factory.mktemp("state"), samples_dir)) as server:
        eventually(lambda: is_ready(server), "readiness")
        yield server


@pytest.fixture
def visitor(rolling):
    with rolling.client() as client:
        route(client, "1")
        yield client


class Reader(HTMLParser):
    """Collects what could run a stranger's program."""

    def __init__(self):
        super().__init__()
        self.dangers, self.attributes = [], 0

    def handle_starttag(self, tag, attributes):
        self.attributes += len(attributes)
        names = {name for name, _ in attributes}
        inline = {name for name in names if name.startswith("on") or name == "style"}
        if inline or tag in {"img", "style"} or (tag == "script" and "src" not in names):
            self.dangers.append((tag, *attributes))


def text(folder):
    return (folder / "manifest.json").read_text("utf-8")


def change(folder, **values):
    (folder / "manifest.json").write_text(json.dumps(json.loads(text(folder)) | values), "utf-8")


def route(client, stable, canary=None, shadow=None, share=0.25):
    body = {"stable": {"name": "parts", "version": stable}, "who": "Ada", "reason": "test"}
    if canary:
        body["canary"] = {"name": "parts", "version": canary, "share": share}
    if shadow:
        body["shadow"] = {"name": "parts", "version": shadow}
    answer = client.post("/categories/bolt/route", json=body | {"keep_previous": True})
    assert answer.status_code == 200, answer.text


def route_now(client):
    values = client.get("/categories/bolt/route").json()
    canary, shadow = values["canary"], values["shadow"]
    return (
        values["stable"]["version"],
        canary and (canary["version"], canary["share"]),
        shadow and shadow["version"],
    )


def revision_in(page):
    return re.search(r'name="revision" value="([^"]+)"', page.text)[1]


def post(client, fields, revision=None, **more):
    """Post the form of a change, as the confirming page would."""
    page = client.get(BOLT, headers=HTML)
    form = {
        "token": token_in(page), "revision": revision or revision_in(page), "who": "Grace",
        "reason": "a better network", "keep": "true",
    }  # fmt: skip
    names = {name: f"parts/{version}" for name, version in fields.items() if version}
    headers = {**HTML, **more.pop("headers", {})}
    return client.post(f"{BOLT}/route", data={**form, **names, **more}, headers=headers)


def memory(client, model, action, **headers):
    page = client.get("/console/models", headers=HTML)
    form = {
        "token": token_in(page), "model": model, "action": action, "who": "Grace", "reason": "room",
    }  # fmt: skip
    return client.post("/console/models/memory", data=form, headers={**HTML, **headers})


def test_the_page_shows_what_serves_each_category_and_every_version(visitor):
    route(visitor, "1", "3", "2")
    page = visitor.get("/console/models", headers=HTML)
    assert page.status_code == 200
    shown = html.unescape(re.sub(r"<[^>]+>", " ", page.text))
    for words in ("parts/1", "parts/3 · 25%", "· Ada", "the start: nobody has routed it"):
        assert words in re.sub(r"\s+", " ", shown)
    assert "No version serves this category." in shown  # cog: only an unfinished version has it
    assert 'href="/console/thresholds?category=bolt"' in page.text
    assert "twice" in shown  # why broken/1 is refused
    for name, count in (("parts", 4), ("rotten", 1), ("strange", 1), ("broken", 1)):
        rows = re.search(rf'data-group="{name}".*?</details>', page.text, re.DOTALL)[0]
        assert rows.count("data-row") == count
    order = re.findall(r"versions/parts/(\d)\"><span", page.text)
    assert order == ["4", "3", "2", "1"]


def test_what_a_stranger_wrote_into_the_store_is_escaped(visitor):
    listing = visitor.get("/console/models", headers=HTML)
    addresses = set(re.findall(r'href="(/console/models/[^"]+)"', listing.text))
    assert len(addresses) > 8
    for address in sorted(addresses):
        page = visitor.get(html.unescape(address), headers=HTML)
        assert page.status_code == 200, address
        assert "<script>alert" not in page.text
        reader = Reader()
        reader.feed(page.text)
        assert reader.attributes > 20
        assert reader.dangers == [], address
    strange = html.unescape(visitor.get("/console/models/versions/strange/1", headers=HTML).text)
    assert strange.count(HOSTILE) >= 7
    assert "its training is unfinished" in strange.lower()


def test_a_version_shows_its_results_its_report_and_its_memory(rolling, visitor, store):
    values = {
        "categories": {"bolt": {
            "good": 147, "defective": 235, "image_auroc": 0.955, "aupro": 1e999, "escape_rate": 7,
            "intervals": {"image_auroc": [0.935, 0.971]},
        }},
        "test_images": {"checked": True, "seen": 3},
    }  # fmt: skip
    values["categories"]["bolt"]["aupro"] = True
    change(store / "parts/2", metrics=values)
    page = visitor.get("/console/models/versions/parts/2", headers=HTML)
    shown = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page.text)))
    assert "147 + 235 95.5% 93.5% - 97.1% - - - - -" in shown.replace(DASH, "-")
    assert "has seen 3 of these test images" in shown
    values["evaluated"] = {"data": "line <b>3</b>", "date": "2026-11-30T13:05:00+00:00"}
    values["earlier"] = [{
        "categories": {"bolt": {"good": 20, "defective": 7, "image_auroc": 0.8}},
        "evaluated": {"data": "march", "date": 3},
    }, HOSTILE]  # fmt: skip
    change(store / "parts/2", metrics=values)
    page = visitor.get("/console/models/versions/parts/2", headers=HTML)
    assert "line &lt;b&gt;3&lt;/b&gt;, <time datetime" in page.text
    shown = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page.text)))
    assert "bolt march 20 + 7 80.0%" in shown
    assert shown.index("147 + 235") < shown.index("20 + 7")  # the newest first
    assert "Nobody has checked" in shown  # the earlier one says nothing of it
    assert "CC0-1.0" in shown
    assert "mambaad evaluate parts DATA --version 2 --report report.html" in shown
    loaded = visitor.get("/console/models/versions/parts/1/memory", headers=HTML)
    (worker,) = rolling.app.state.service.workers.residents()
    assert worker in loaded.text
    assert "in memory" in loaded.text


def test_a_version_shows_its_self_check_and_what_to_do_next(visitor):
    page = visitor.get("/console/models/versions/parts/2", headers=HTML)
    shown = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page.text)))
    assert "Self-check with drawn defects" in shown
    assert "Drawn defects are not real ones" in shown
    assert "PatchCore is clearly ahead" in shown
    assert re.search(r"Missed most: \w+", shown)
    assert "hold out 199 good images" in shown
    assert "was changed after this check" not in shown
    german = visitor.get(
        "/console/models/versions/parts/2", headers={**HTML, "accept-language": "de"}
    )
    assert "Selbsttest mit gezeichneten Fehlern" in german.text
    plain = visitor.get("/console/models/versions/parts/1", headers=HTML)
    assert "Self-check" not in plain.text


def test_a_report_is_shown_and_can_do_nothing(visitor, store):
    page = visitor.get("/console/models/versions/parts/1", headers=HTML)
    assert 'href="/console/models/versions/parts/1/report"' in page.text
    report = visitor.get("/console/models/versions/parts/1/report", headers=HTML)
    assert (report.text, report.headers["content-type"]) == (REPORT, "text/html; charset=utf-8")
    policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert report.headers["content-security-policy"] == policy
    assert visitor.get("/console/models/versions/parts/2/report").status_code == 404
    for name in ("..%2f..", "%2e%2e", "encoders", "parts%2f.."):
        assert visitor.get(f"/console/models/versions/{name}/1/report").status_code == 404
    assert visitor.get("/console/models/versions/parts/1/manifest.json").status_code in {404, 422}
    (store / "parts/2/report.html").symlink_to(store.parent / "secret.html")
    (store.parent / "secret.html").write_text("secret")
    assert visitor.get("/console/models/versions/parts/2/report").status_code == 404
    (store / "parts/2/report.html").unlink()


def test_shadow_canary_promotion_and_removal(visitor):
    steps = [
        ({"stable": "1", "shadow": "2"}, ("1", None, "2")),
        ({"stable": "1", "shadow": "2", "canary": "3"}, ("1", ("3", 0.075), "2")),
        ({"stable": "3", "shadow": "2"}, ("3", None, "2")),
        ({"stable": "2", "shadow": "2"}, ("2", None, None)),
        ({"stable": "4", "canary": "4"}, ("4", None, None)),
    ]
    for fields, expected in steps:
        answer = post(visitor, fields, share="7.5")
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == f"{BOLT}?changed=true"
        assert route_now(visitor) == expected
    page = visitor.get(BOLT, headers=HTML).text
    history = page.partition('id="history-of"')[2]
    assert history.count("a better network") >= 5
    first, second = re.findall(r'<p class="soft">(.*?)</p>', history)[:2]
    assert first.split() == ["stable", "parts/2", "→", "stable", "parts/4"]
    assert second.split() == ["stable", "parts/3,", "shadow", "parts/2", "→", "stable", "parts/2"]


def test_the_route_before_the_last_change_returns(rolling, visitor):
    route(visitor, "1", "3", share=0.005)
    before = route_now(visitor)
    route(visitor, "2")
    page = visitor.get(BOLT, headers=HTML)
    form = page.text.partition('id="roll-back"')[2].partition("</form>")[0]
    fields = dict(re.findall(r'name="(\w+)"[^>]*? value="([^"]*)"', form))
    assert "Ada" in fields["reason"]
    answer = visitor.post(f"{BOLT}/route", data={**fields, "who": "Grace"}, headers=HTML)
    assert answer.status_code == 303
    assert route_now(visitor) == before
    record = rolling.app.state.service.rollout.history("bolt", "route")[0]
    assert (record.who, record.reason) == ("Grace", html.unescape(fields["reason"]))
    assert record.before["stable"]["version"] == "2"


def test_a_change_is_refused_if_the_route_has_changed_since(visitor):
    seen = revision_in(visitor.get(BOLT, headers=HTML))
    route(visitor, "2")
    late = post(visitor, {"stable": "3"}, revision=seen, headers={"HX-Request": "true"})
    assert late.status_code == 409
    assert "was changed meanwhile" in late.text
    assert "<html" not in late.text
    assert route_now(visitor) == ("2", None, None)
    confirm = f"{BOLT}/change?stable=parts/3&revision={seen}"
    page = visitor.get(confirm, headers=HTML).text
    assert "Somebody has changed the route" in page
    assert 'name="reason"' not in page
    route(visitor, "1")  # as it was, but that the person has not seen
    assert post(visitor, {"stable": "3"}, revision=seen).status_code == 409


def test_the_change_is_shown_before_it_is_made(visitor):
    route(visitor, "1", "3")
    page = visitor.get(f"{BOLT}/change?stable=parts/3", headers=HTML).text
    rows = [
        re.sub(r"<[^>]+>", " ", row).split()
        for row in re.findall(r"<tr(?: class=\"changed\")?><th scope=\"row\">.*?</tr>", page)
    ]
    assert rows == [
        ["stable", "parts/1", "parts/3"],
        ["canary", "parts/3", "·", "25%", DASH],
        ["shadow", DASH, "as", "before"],
    ]
    same = visitor.get(
        f"{BOLT}/change?stable=parts/1&canary=parts/3&share=25&revision=x", headers=HTML
    )
    assert 'name="reason"' not in same.text


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"stable": "parts/99"}, 404),
        ({"stable": "parts"}, 422),
        ({"stable": "strange/1"}, 422),
        ({"stable": HOSTILE + "/1"}, 404),
        ({"stable": "parts/1", "canary": "parts/2", "share": "0"}, 422),
        ({"stable": "parts/1", "canary": "parts/2", "share": "nan"}, 422),
        ({"stable": "parts/1", "shadow": "rotten/1"}, 409),
        ({"stable": "parts/2", "reason": " "}, 422),
        ({"stable": "parts/2", "who": ""}, 422),
        ({}, 422),
    ],
)
def test_what_cannot_be_routed_says_why_and_changes_nothing(visitor, fields, status):
    before = route_now(visitor)
    answer = post(visitor, {}, headers={"HX-Request": "true"}, **fields)
    assert answer.status_code == status
    assert 'class="note bad"' in answer.text
    assert "<script>alert" not in answer.text
    assert route_now(visitor) == before


def test_versions_are_loaded_and_unloaded(rolling, visitor):
    lifecycle = rolling.app.state.service.lifecycle

    def state():
        return visitor.get("/console/models/versions/parts/2/memory", headers=HTML).text

    for action, word in (("load", "in memory"), ("unload", "unloaded"), ("warm", "in memory")):
        asked = visitor.get(f"/console/models/versions/parts/2/{action}", headers=HTML)
        assert asked.status_code == 200
        assert f'value="{action}"' in asked.text
        done = memory(visitor, "parts/2", action, **{"HX-Request": "true"})
        assert done.status_code == 204, done.text
        assert done.headers["hx-redirect"] == "/console/models/versions/parts/2"
        assert word in state()
    serves = memory(visitor, "parts/1", "unload", **{"HX-Request": "true"})
    assert serves.status_code == 409
    assert "route these to another version first" in serves.text
    damaged = memory(visitor, "rotten/1", "load")
    assert damaged.status_code == 409
    page = visitor.get("/console/models/versions/rotten/1", headers=HTML).text
    assert "failed" in page
    assert "sha256" in page
    assert str(rolling.settings.versions.weights_dir) not in page
    assert memory(visitor, "parts/2", "burn").status_code == 422
    assert lifecycle.state(key_of(rolling, "parts", "2")).value == "ready"


def key_of(server, name, version):
    return server.app.state.service.registry.version(name, version).key


def test_a_version_that_loads_is_polled_until_it_is_ready(
    rolling, visitor, monkeypatch, eventually
):
    key = key_of(rolling, "parts", "2")
    eventually(lambda: "hx-trigger" not in visitor.get("/console/models/list").text)
    monkeypatch.setitem(rolling.app.state.service.lifecycle._loading, key, None)
    assert 'hx-trigger="every 2s"' in visitor.get("/console/models/list").text
    page = visitor.get("/console/models/versions/parts/2", headers=HTML).text
    assert 'hx-trigger="every 1s"' in page
    assert "model-loading" in page


def test_new_versions_are_found(visitor, store, save):
    def scan():
        page = visitor.get("/console/models", headers=HTML)
        return visitor.post("/console/models/rescan", data={"token": token_in(page)}, headers=HTML)

    assert scan().headers["location"] == "/console/models?new=0"
    save(store, "later", {"washer": 1.0})
    assert scan().headers["location"] == "/console/models?new=1"
    page = visitor.get("/console/models?new=1", headers=HTML).text
    assert "versions/later/1" in page
    assert "/console/models/categories/washer" in page
    washer = visitor.get("/console/models/categories/washer", headers=HTML)
    assert "No version serves this category." in washer.text
    form = {"token": token_in(washer), "stable": "later/1", "who": "Grace", "reason": "new part"}
    form["revision"] = revision_in(washer)
    done = visitor.post("/console/models/categories/washer/route", data=form, headers=HTML)
    assert done.status_code == 303
    assert visitor.get("/categories/washer/route").json()["stable"]["name"] == "later"
    shutil.rmtree(store / "later")


def test_a_shadow_and_a_canary_are_compared_with_the_answers(visitor, image, eventually):
    route(visitor, "1", "3", "2", share=0.5)
    canary = visitor.get(f"{BOLT}/canary").text
    assert "All parts since the route was set" in canary
    told = []
    for number in range(12):
        fields = {"category": "bolt", "part_id": f"canary-{number}", "origin": "line"}
        answer = visitor.post("/detect", params=fields, content=image(seed=number)).json()
        told.append((answer["results"][0]["model"]["version"], answer["decision"]))
    trial = {"category": "bolt", "origin": "test"}
    assert visitor.post("/detect", params=trial, content=image()).status_code == 200
    counts = [told.count(one) for one in (("1", "OK"), ("3", "NG"))]
    assert sum(counts) == 12
    assert min(counts) > 0
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", visitor.get(f"{BOLT}/canary").text))
    assert f"stable parts/1 {counts[0]} 0.0% 0.0% {DASH} " in shown
    assert f"canary parts/3 {counts[1]} 100.0% " in shown

    def compared():
        page = visitor.get(BOLT, headers=HTML).text
        shadows = re.findall(r"<caption>.*?</table>", page, re.DOTALL)
        return [[int(n) for n in re.findall(r"<td[^>]*>(\d+)</td>", one)] for one in shadows]

    def all_compared():
        tables = compared()
        return len(tables) == 2 and sum(map(sum, tables)) == 12 and tables

    agree, differ = eventually(all_compared, "the comparison of all parts")
    assert agree == [counts[0], *[0] * 8]
    assert differ == [*[0] * 6, counts[1], 0, 0]


@pytest.mark.parametrize(
    ("name", "status"), [("viewer", 403), ("operator", 403), ("station", 403), ("engineer", 200)]
)
def test_who_may_see_and_change_models(keyed, secrets, name, status):
    with keyed.client() as client:
        sign_in(client, secrets[name])
        start = client.get("/console/try" if name != "viewer" else "/console/history", headers=HTML)
        assert ('href="/console/models"' in start.text) is (status == 200)
        for address in PAGES:
            wanted = 404 if status == 200 and address.endswith("report") else status
            assert client.get(address, headers=HTML).status_code == wanted, address
        headers = {**HTML, "X-CSRF-Token": token_in(start)}
        for address in CHANGES:
            answer = client.post(address, data={"token": token_in(start)}, headers=headers)
            assert (answer.status_code == 403) is (status == 403), address


def test_the_routes_above_are_all(plain):
    paths = {getattr(route, "path", "") for route in iter_route_contexts(plain.app.routes)}
    ours = {path for path in paths if path.startswith("/console/models")}
    assert len(ours) == len(PAGES) + len(CHANGES)


async def asked(keyed, secret, address):
    transport = httpx.ASGITransport(app=keyed.app, client=("192.0.2.7", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://plant.example") as client:
        page = await client.get("/console/sign-in", headers=HTML)
        await client.post("/console/sign-in", data={"token": token_in(page), "key": secret})
        return (await client.get(address, headers=HTML)).status_code


@pytest.mark.parametrize("address", ["/console/models", BOLT])
def test_over_plain_http_from_another_machine_nobody_is_an_engineer(keyed, secrets, address):
    assert asyncio.run(asked(keyed, secrets["engineer"], address)) == 403


def test_an_engineer_signs_changes_with_the_name_of_the_key(keyed, secrets):
    with keyed.client() as client:
        sign_in(client, secrets["engineer"])
        page = client.get(BOLT, headers=HTML)
        assert 'name="who"' not in page.text


def test_a_canary_is_set_promoted_and_rolled_back_in_the_browser(browser, rolling, visitor):
    browser.open(f"{rolling.url}/console/models")
    browser.one("#find-version").send_keys("rotten")
    assert [one.text for one in browser.all(".group h3") if one.is_displayed()] == ["rotten"]
    browser.one("#find-version").clear()
    look(browser, "models")
    browser.open(f"{rolling.url}{BOLT}")
    Select(browser.one("#canary-model")).select_by_visible_text("parts/3")
    browser.driver.execute_script(
        "const s = document.getElementById('canary-share'); s.value = 20;"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert browser.text("output") == "20%"
    browser.one("#set-canary button").click()
    look(browser, "models-confirm")

    def confirm():
        browser.one("#route-who").send_keys("Grace")
        browser.one("#route-reason").send_keys("a better network")
        browser.one(".working").click()
        browser.until(lambda: "The route is changed." in browser.text("main"), "the change")

    confirm()
    assert route_now(visitor) == ("1", ("3", 0.2), None)
    browser.until(lambda: browser.all("#canary-of + div table"), "the canary's decisions")
    look(browser, "models-category")
    browser.driver.find_element("link text", "Make the canary stable").click()
    confirm()
    assert route_now(visitor) == ("3", None, None)
    browser.one("#back-who").send_keys("Grace")
    browser.one("#roll-back .working").click()
    browser.until(lambda: "changed=true" in browser.driver.current_url, "the roll back")
    browser.until(lambda: browser.all("#canary-of"), "the page")
    assert route_now(visitor) == ("1", ("3", 0.2), None)
    requests = browser.requests()
    assert len(requests) > 10
    assert foreign(requests, rolling.url) == []


def test_a_version_is_loaded_in_the_browser_and_a_failure_is_readable(browser, rolling, visitor):
    browser.open(f"{rolling.url}/console/models/versions/rotten/1/load")
    browser.one("#memory-who").send_keys("Grace")
    browser.one("#memory-reason").send_keys("a try")
    browser.one(".working").click()
    assert "was not loaded, and nothing changed" in browser.text("#outcome")
    assert [line for line in browser.errors() if "409" not in line] == []
    browser.open(f"{rolling.url}/console/models/versions/parts/2")
    look(browser, "models-version")
