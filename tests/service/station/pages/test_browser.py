"""The page in Chromium: live, harmless, and readable at every width, by day and by night."""

from dataclasses import replace

import pytest

from service.station.machine.faults import ErrorCode
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict
from tests.service.console.browser import chromium, foreign
from tests.service.station.pages.shown import HOSTILE, VITALS, shown

OUTCOMES = [
    Outcome(Verdict.OK, score=0.1),
    Outcome(Verdict.NG, score=0.9),
    Outcome(Verdict.REVIEW, score=0.5),
    Outcome(Verdict.UNDECIDED, Reason.DEADLINE, FailSafe.NG),
    Outcome(Verdict.INPUT_PROBLEM, Reason.IMAGE_BLACK, FailSafe.STOP),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(running):
    """The browser, which has forgotten all pages."""
    running.clear()
    yield running
    running.open("about:blank")  # so that it asks no page that has ended


def check_harmless(browser, station):
    """The console has no line, and the browser has asked nobody but the page."""
    assert browser.errors() == []
    requests = browser.requests()
    assert any("/events" in request for request in requests)
    assert foreign(requests, station.pages.url) == []


def until(browser, name, text):
    """Wait until a fragment has a text."""
    browser.until(lambda: text in browser.one(f"#{name}").text, f"{text} in {name}")


def test_results_come_live_and_a_picture_opens_large(browser, image):
    with shown() as station:
        browser.open(station.pages.url)
        until(browser, "head", "READY")
        station.tell(1, images={"top": image(width=400, height=300)})
        until(browser, "verdict", "cell-1")
        station.step(plc_trigger=True)
        browser.until(lambda: "Trigger" in browser.driver.execute_script(BITS_ON), "the bit")
        browser.one("#results a[data-large]").click()
        large = browser.one("dialog[open] img")
        browser.until(lambda: large.get_property("naturalWidth") == 400, "the large picture")
        station.tell(2)
        until(browser, "verdict", "cell-2")
        assert large.is_displayed()
        browser.one("dialog button").click()
        check_harmless(browser, station)


def test_hostile_names_stay_text(browser, image):
    with shown() as station:
        browser.open(station.pages.url)
        station.tell(1, part_id=HOSTILE, images={"top": image()})
        station.step(plc_part_id=HOSTILE)
        until(browser, "verdict", "<script>alert(2)")
        browser.one("#results img").click()
        assert "<script>" in browser.one("dialog p").text
        sources = [element.get_attribute("src") for element in browser.all("img")]
        assert sources
        assert all(source.startswith(station.pages.url) for source in sources)
        assert len(browser.all("script")) == 1
        browser.open(f"{station.pages.url}parts/1")
        assert "<script>alert(2)" in browser.one("main").text
        check_harmless(browser, station)


def test_the_page_says_when_it_is_not_live(browser):
    with shown() as station:
        browser.open(station.pages.url)
        until(browser, "head", "READY")
        assert browser.one("#news").text == ""
    until(browser, "news", "NOT LIVE")
    assert "stale" in browser.one("body").get_attribute("class")


def test_the_page_reads_without_javascript(browser):
    execution = "Emulation.setScriptExecutionDisabled"
    browser.driver.execute_cdp_cmd(execution, {"value": True})
    try:
        with shown() as station:
            station.tell(1)
            browser.open(station.pages.url)
            assert "cell-1" in browser.one("#verdict").text
            station.tell(2)
            # An element may go while the page is loaded again: its source does not.
            browser.until(lambda: "cell-2" in browser.driver.page_source, "the page, loaded again")
    finally:
        browser.driver.execute_cdp_cmd(execution, {"value": False})


def failing():
    """A page with every kind of result and error."""
    return replace(VITALS, errors=tuple(code for code in ErrorCode if code))


@pytest.mark.parametrize(
    ("width", "theme"), [(360, "light"), (360, "dark"), (768, "light"), (1280, "dark")]
)
def test_every_verdict_reads_at_every_width(browser, width, theme):
    browser.resize(width, 900)
    browser.use_theme(theme)
    with shown() as station:
        station.vitals = failing()
        browser.open(station.pages.url)
        for job, outcome in enumerate(OUTCOMES, start=1):
            station.tell(job, outcome, part_id="W" * 32)
            word = outcome.verdict.name.replace("_", " ")
            until(browser, "verdict", word)
            assert not browser.overflows()
            contrast, height_px, icon = browser.driver.execute_script(VERDICT)
            assert contrast >= 4.5, word
            assert height_px >= (25 if width == 360 else 50), word
            assert icon.endswith(f"#{outcome.verdict.name}")
        check_harmless(browser, station)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_use_the_page(browser, image, theme):
    browser.use_theme(theme)
    with shown() as station:
        station.vitals = failing()
        for job, outcome in enumerate(OUTCOMES, start=1):
            station.tell(job, outcome, images={"top": image()})
        browser.open(station.pages.url)
        browser.one("#results img")
        assert browser.violations() == []
        browser.open(f"{station.pages.url}parts/5")
        assert browser.violations() == []


BITS_ON = """
const names = document.querySelectorAll("#bits li.on span:nth-child(2)");
return [...names].map((name) => name.textContent);
"""
VERDICT = """
const channel = (value) => {
  const share = value / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
};
const light = (text) => {
  const [red, green, blue] = text.match(/[0-9.]+/g).map(Number).map(channel);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const big = document.querySelector("#verdict .big");
const style = getComputedStyle(big);
const [dark, bright] = [light(style.color), light(style.backgroundColor)].sort((a, b) => a - b);
const size = parseFloat(getComputedStyle(big.querySelector(".word")).fontSize);
return [(bright + 0.05) / (dark + 0.05), size, big.querySelector("use").getAttribute("href")];
"""
