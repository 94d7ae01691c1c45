"""The page Thresholds: its data, who may change a threshold, undo, conflicts, and the browser."""

import asyncio
import base64
import html
import json
import random
import re

import httpx
import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from model.inspection import Decision
from service.archive.records import Verdict
from service.archive.searching.sampling import is_sampled
from service.inspection.submission import Origin
from service.settings import ConsoleSettings
from tests.service.conftest import running
from tests.service.console.browser import foreign
from tests.service.console.conftest import settings_of
from tests.service.console.test_browser import look
from tests.service.console.test_pages import HOSTILE, HTML, sign_in, token_in
from tests.service.console.thresholds.making import (
    REVIEW,
    SHARE,
    THRESHOLD,
    decide,
    parts_of_a_shift,
    write,
)

PAGE = "/console/thresholds?category=bolt&model=parts/1&period=week"


@pytest.fixture(scope="module")
def records():
    return parts_of_a_shift(1200, seed=4)


@pytest.fixture(scope="module")
def bench(weights, tmp_path_factory, samples_dir, records):
    """A service of its own, because thresholds change; nobody waits for its workers."""
    console = ConsoleSettings(samples_dir=samples_dir, review_share=SHARE)
    folder = tmp_path_factory.mktemp("bench")
    with running(settings_of(weights, folder, samples_dir, console=console)) as server:
        write(server.app.state.archive.journal, records)
        yield server


@pytest.fixture
def visitor(bench):
    with bench.client() as client:
        yield client
        reset(client)


def reset(client):
    client.delete("/categories/bolt/threshold", params={"who": "test", "reason": "end of a test"})


def counted(records):
    return [
        one for one in records
        if one.category == "bolt" and one.model_version == "1" and one.found is not None
        and one.origin is not Origin.TEST
        and (records[0].received_at - one.received_at).days < 7
    ]  # fmt: skip


def form_of(page, **fields):
    """Return the fields of the form that applies a threshold, as the page has them."""
    form = re.search(
        r'<form method="post" action="/console/thresholds/apply">.*?</form>', page.text, re.DOTALL
    )[0]
    given = re.findall(r'type="hidden" name="(\w+)"(?: value="([^"]*)")?', form)
    return {name: html.unescape(value) for name, value in given} | fields


def in_force(client, category="bolt"):
    answer = client.get(f"/categories/{category}/threshold").json()
    return answer["threshold"], answer["review_threshold"]


def data_of(client, address=PAGE):
    answer = client.get(address.replace("/thresholds?", "/thresholds/data?"))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_data_equals_a_recount_at_any_place(visitor, records):
    data = data_of(visitor)
    raw = np.frombuffer(base64.b64decode(data["raw"]), "<f8")
    rows = sorted(counted(records), key=lambda row: row.raw_score)
    assert raw.tolist() == [row.raw_score for row in rows]
    kinds = {None: "-", Verdict.GOOD: "G", Verdict.DEFECTIVE: "D", Verdict.UNSURE: "U"}
    letters = [
        kinds[row.verdict]
        if row.told is not Decision.OK or is_sampled(row.inspection_id, SHARE)
        else kinds[row.verdict].lower()
        for row in rows
    ]
    of_page = list(zip(raw.tolist(), data["told"], data["verdicts"], strict=True))
    names = {"O": "OK", "W": "REVIEW", "N": "NG"}
    assert sorted((r, names[t], v) for r, t, v in of_page) == sorted(
        (row.raw_score, row.told.value, letter) for row, letter in zip(rows, letters, strict=True)
    )
    chance = random.Random(2)
    for place in [*(chance.uniform(7, 12) for _ in range(30)), *chance.sample(raw.tolist(), 20)]:
        recount = [decide(row.raw_score, place, place - 0.5) for row in rows]
        assert int((raw > place).sum()) == recount.count(Decision.NG)
        assert int((raw <= place - 0.5).sum()) == recount.count(Decision.OK)


def test_the_page_says_what_it_is_about(visitor, records):
    about = html.unescape(re.sub(r"<[^>]+>", " ", data_of(visitor)["about"]))
    assert "exact for 1,200 parts" in about
    assert "7 parts were inspected by other versions" in about
    assert "14 parts have no decision of the network" in about
    rows = counted(records)
    outside = [
        row for row in rows
        if row.told is Decision.OK and row.verdict in {Verdict.GOOD, Verdict.DEFECTIVE}
        and not is_sampled(row.inspection_id, SHARE)
    ]  # fmt: skip
    assert f"{len(outside)} parts that the line was told OK were judged outside" in about


def test_the_promise_does_not_contradict_itself(visitor, records):
    """Whoever reads the page without its styles reads every text that it may show."""
    page = visitor.get(PAGE, headers=HTML).text
    assert "stored no quantiles" not in page or "stored 21 quantiles" not in page
    assert ('data-promise="bound"' in page) is not ('data-promise="estimate"' in page)


def test_few_verdicts_are_warned_of(visitor):
    about = data_of(visitor, PAGE.replace("bolt", "nut"))["about"]
    assert "No defective part has been judged" in about or "fewer than 30" in about
    nothing = data_of(visitor, PAGE.replace("week", "own&until=2001-01-01T00:00"))
    assert nothing["raw"] == ""


def test_a_threshold_is_applied_and_undone_and_each_is_audited(visitor):
    page = visitor.get(PAGE, headers=HTML)
    fields = {"threshold": "9.75", "review_threshold": "9.25", "who": "Ada", "reason": "new lamp"}
    applied = visitor.post("/console/thresholds/apply", data=form_of(page, **fields))
    assert applied.status_code == 303
    assert in_force(visitor) == (9.75, 9.25)
    page = visitor.get(applied.headers["location"], headers=HTML)
    assert "in force from the next part on" in page.text
    assert "new lamp" in page.text
    second = visitor.post(
        "/console/thresholds/apply",
        data=form_of(page, threshold="9.5", review_threshold="", who="Bo", reason="too strict"),
    )
    page = visitor.get(second.headers["location"], headers=HTML)
    assert in_force(visitor) == (9.5, None)
    undone = visitor.post("/console/thresholds/undo", data=form_of(page, who="Ada"))
    assert undone.status_code == 303
    assert in_force(visitor) == (9.75, 9.25)
    history = visitor.get("/categories/bolt/threshold").json()["history"]
    assert history[0]["reason"].startswith("undo of the change of ")
    assert history[0]["reason"].endswith("by Bo")
    assert history[0]["from"] == {"threshold": 9.5, "review_threshold": None}
    assert history[0]["to"] == {"threshold": 9.75, "review_threshold": 9.25}
    page = visitor.get(undone.headers["location"], headers=HTML)
    restored = visitor.post(
        "/console/thresholds/restore", data=form_of(page, who="Ada", reason="as calibrated")
    )
    assert restored.status_code == 303
    answer = visitor.get("/categories/bolt/threshold").json()
    assert (answer["threshold"], answer["set_by"]) == (THRESHOLD, None)


def test_an_undo_of_the_first_change_restores_the_calibration(visitor):
    page = visitor.get(PAGE, headers=HTML)
    fields = form_of(page, threshold="8", review_threshold="", who="Ada", reason="a try")
    visitor.post("/console/thresholds/apply", data=fields)
    page = visitor.get(PAGE, headers=HTML)
    assert visitor.post("/console/thresholds/undo", data=form_of(page)).status_code == 303
    assert visitor.get("/categories/bolt/threshold").json()["set_by"] is None


def test_somebody_else_was_faster(visitor):
    page = visitor.get(PAGE, headers=HTML)
    body = {"threshold": 9.1, "who": "Eve", "reason": "first"}
    assert visitor.put("/categories/bolt/threshold", json=body).status_code == 200
    late = form_of(page, threshold="9.9", review_threshold="", who="Ada", reason="second")
    for name in ("apply", "undo", "restore"):
        answer = visitor.post(f"/console/thresholds/{name}", data=late, headers=HTML)
        assert answer.status_code == 409
        assert "Somebody else changed this threshold" in answer.text
        assert "Eve" in answer.text
        assert 'name="next" value="/"' in answer.text  # the answer to a form has no address
        assert in_force(visitor) == (9.1, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"threshold": "nan"},
        {"threshold": ""},
        {"threshold": "9", "review_threshold": "9"},
        {"threshold": "9", "who": " "},
        {"threshold": "9", "reason": ""},
        {"threshold": "9", "reason": "two\nlines"},
        {"threshold": "9", "model": "parts/7"},
        {"threshold": "9", "category": "ghost"},
        {"threshold": "9", "category": "none"},
        {"threshold": "9", "seen_threshold": "much"},
    ],
)
def test_a_wrong_change_is_refused(visitor, fields):
    page = visitor.get(PAGE, headers=HTML)
    form = form_of(page, review_threshold="", who="Ada", reason="why") | fields
    assert visitor.post("/console/thresholds/apply", data=form).status_code in {400, 404, 422}
    assert in_force(visitor) == (THRESHOLD, None)


@pytest.mark.parametrize(
    "query", ["category=none", "model=parts/9", "period=year", "colour=red",
              "period=own&since=2026-02-01T00:00&until=2026-01-01T00:00",
              "period=own&since=0001-01-01T00:00:00%2B14:00",
              "period=own&since=0001-01-01T00:00", "period=own&until=9999-12-31T23:59"],
)  # fmt: skip
def test_a_wrong_choice_is_explained(visitor, query):
    for address in ("/console/thresholds", "/console/thresholds/data"):
        assert visitor.get(f"{address}?{query}", headers=HTML).status_code in {400, 404, 422}


def test_hostile_reasons_are_shown_as_they_are(visitor):
    page = visitor.get(PAGE, headers=HTML)
    fields = form_of(page, threshold="9.2", review_threshold="", who=HOSTILE, reason=HOSTILE)
    visitor.post("/console/thresholds/apply", data=fields)
    page = visitor.get(PAGE, headers=HTML)
    assert page.text.count("alert(1)") >= 2
    assert not re.search(r"<script(?![^>]*src=)", page.text)
    assert HOSTILE in html.unescape(page.text)
    assert "alert" not in json.dumps(data_of(visitor))


@pytest.mark.parametrize(
    ("name", "reads", "changes"),
    [
        ("viewer", True, False), ("operator", True, False),
        ("engineer", True, True), ("station", False, False),
    ],
)  # fmt: skip
def test_who_may_see_and_who_may_apply(keyed, secrets, name, reads, changes):
    with keyed.client() as client:
        sign_in(client, secrets[name])
        page = client.get("/console/thresholds?category=nut", headers=HTML)
        assert page.status_code == (200 if reads else 403)
        data = client.get("/console/thresholds/data?category=nut")
        assert data.status_code == (200 if reads else 403)
        assert ('id="open-apply"' in page.text) is changes
        form = page if reads else client.get("/console/try", headers=HTML)
        fields = {
            "token": token_in(form),
            "category": "nut", "model": "parts/1", "threshold": "-9", "review_threshold": "",
            "seen_threshold": "-10.0", "seen_review": "", "who": "Mallory", "reason": "why",
        }  # fmt: skip
        answer = client.post("/console/thresholds/apply", data=fields)
        assert answer.status_code == (303 if changes else 403)
        if changes:  # the name is the key's, whatever the form says
            page = client.get(answer.headers["location"], headers=HTML)
            assert "Mallory" not in page.text
            fields |= {"token": token_in(page), "seen_threshold": "-9.0"}
            assert client.post("/console/thresholds/undo", data=fields).status_code == 303


def test_over_plain_http_from_another_machine_an_engineer_sees_and_changes_nothing(keyed, secrets):
    async def scenario():
        other = httpx.ASGITransport(app=keyed.app, client=("192.0.2.7", 50_000))
        async with httpx.AsyncClient(transport=other, base_url="http://127.0.0.1") as client:
            page = await client.get("/console/sign-in", headers=HTML)
            form = {"token": token_in(page), "key": secrets["engineer"]}
            await client.post("/console/sign-in", data=form)
            page = await client.get("/console/thresholds?category=nut", headers=HTML)
            form = {"token": token_in(page), "category": "nut", "model": "parts/1"}
            return page, [
                (await client.post(f"/console/thresholds/{name}", data=form)).status_code
                for name in ("apply", "undo", "restore")
            ]

    page, answers = asyncio.run(scenario())
    assert (page.status_code, answers) == (200, [403, 403, 403])
    assert "open-apply" not in page.text


def figures(browser):
    """Return every figure of the page by its name."""
    script = """
      const outs = [...document.querySelectorAll("[data-out]")];
      return Object.fromEntries(outs.map((one) => [one.dataset.out, one.textContent]));
    """
    return browser.driver.execute_script(script)


def count_of(text):
    return int(text.split(" ·")[0].replace(",", ""))


def set_number(browser, name, value):
    browser.driver.execute_script(
        "const f = document.querySelector(`[data-number=${arguments[0]}]`);"
        "f.value = String(arguments[1]); f.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def test_the_workbench_in_the_browser(browser, bench, visitor, records):
    rows = counted(records)
    browser.open(f"{bench.url}{PAGE}")
    browser.one("#workbench[data-ready]")
    check_places(browser, rows)
    tables = (
        "return [...document.querySelectorAll('.numbers')].map((t) => getComputedStyle(t).display)"
    )
    assert browser.driver.execute_script(tables) == ["table", "table"]
    look(browser, "thresholds")
    browser.use_theme("light")
    drag(browser, bench, visitor)
    assert foreign(browser.requests(), bench.url) == []


def check_places(browser, rows):
    """Compare the figures with a recount at random places, ties included."""
    browser.one("#has-review").click()
    chance = random.Random(8)
    ties = [row.raw_score for row in rows if row.raw_score * 4 == round(row.raw_score * 4)]
    for threshold in [*(chance.uniform(8, 11.5) for _ in range(15)), *chance.sample(ties, 15)]:
        review = threshold - 0.25
        set_number(browser, "review", review - 1)  # below any threshold on the way
        set_number(browser, "threshold", threshold)
        set_number(browser, "review", review)
        shown = figures(browser)
        recount = [decide(row.raw_score, threshold, review) for row in rows]
        for decision in (Decision.NG, Decision.REVIEW, Decision.OK):
            text = shown[f"here.{decision.value}"]
            assert count_of(text) == recount.count(decision), (threshold, decision)
        good = [row for row in judged(rows) if row.verdict is Verdict.GOOD]
        rejected = [row for row in good if row.raw_score > threshold]
        assert shown["here.good"] == f"{len(rejected)} of {len(good)}"
        defective = [row for row in judged(rows) if row.verdict is Verdict.DEFECTIVE]
        passed = [row for row in defective if row.raw_score <= review]
        assert shown["here.defective"] == f"{len(passed)} of {len(defective)}"
        check_cost(shown, rows, threshold, review)


def check_cost(shown, rows, threshold, review):
    """Recount the expected cost, part by part."""
    weights = {}
    for told in {row.told for row in rows}:
        of_stratum = [row for row in rows if row.told is told]
        weights[told] = len(of_stratum) / len(judged(of_stratum))
    cost = sum(
        weights[row.told]
        * (
            (row.verdict is Verdict.GOOD and row.raw_score > threshold)
            + 50 * (row.verdict is Verdict.DEFECTIVE and row.raw_score <= review)
        )
        for row in judged(rows)
    )
    text = float(shown["cost.here"].replace(",", ""))
    assert text == pytest.approx(1000 * cost / len(rows), rel=2e-3)


def judged(rows):
    return [
        row for row in rows
        if row.verdict in {Verdict.GOOD, Verdict.DEFECTIVE}
        and (row.told is not Decision.OK or is_sampled(row.inspection_id, SHARE))
    ]  # fmt: skip


def drag(browser, bench, visitor):
    """Drag the threshold, move it by the keyboard, apply, undo."""
    browser.open(f"{bench.url}{PAGE}")
    browser.one("#workbench[data-ready]")
    number = browser.one("#n-threshold")
    assert float(number.get_attribute("value")) == THRESHOLD
    line = browser.one("#histogram .mark.here")
    ActionChains(browser.driver).drag_and_drop_by_offset(line, -90, 0).perform()
    dragged = float(number.get_attribute("value"))
    assert dragged < THRESHOLD - 0.1
    assert browser.one("#open-apply").is_enabled()
    slider = browser.one("#s-threshold")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert float(number.get_attribute("value")) > dragged
    browser.one("#open-apply").click()
    browser.one("#apply-who").send_keys("Ada")
    browser.one("#apply-reason").send_keys("fewer escapes")
    assert browser.violations() == []
    browser.shoot("thresholds-apply")
    chosen = float(number.get_attribute("value"))
    browser.one("#apply button").click()
    browser.until(lambda: "done=applied" in browser.driver.current_url, "page after the change")
    assert in_force(visitor) == (chosen, None)
    browser.one("#workbench[data-ready]")
    browser.one("#undo").click()
    browser.until(lambda: "done=undone" in browser.driver.current_url, "page after the undo")
    assert in_force(visitor) == (THRESHOLD, None)
    assert REVIEW < THRESHOLD
