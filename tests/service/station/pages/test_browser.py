"""The page in Chromium: live, harmless, and readable at every width, by day and by night."""

import json
import re
import time
from dataclasses import replace

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from service.station.machine.faults import ErrorCode
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict
from tests.programs import program
from tests.service.station.pages.shown import HOSTILE, VITALS, shown

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip
OUTCOMES = [
    Outcome(Verdict.OK, score=0.1),
    Outcome(Verdict.NG, score=0.9),
    Outcome(Verdict.REVIEW, score=0.5),
    Outcome(Verdict.UNDECIDED, Reason.DEADLINE, FailSafe.NG),
    Outcome(Verdict.INPUT_PROBLEM, Reason.IMAGE_BLACK, FailSafe.STOP),
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.binary_location = program("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium):
    """The browser; at the end its console has no line, and it has asked nobody but the page."""
    chromium.get("about:blank")
    chromium.get_log("browser")
    chromium.get_log("performance")
    yield chromium
    try:
        assert [entry["message"] for entry in chromium.get_log("browser")] == []
        assert {re.match(r"\w+:(//[^/]*)?", url)[0] for url in asked(chromium)} == {chromium.page}
    finally:
        chromium.get("about:blank")  # so that it asks no page that has ended


def asked(driver):
    """Return the addresses that the browser has asked since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith("about:")]


def open_page(browser, station, path=""):
    browser.page = station.pages.url.rstrip("/")
    browser.get(station.pages.url + path)


def text_of(browser, name):
    return browser.find_element(By.ID, name).text


def wait_for(condition, what):
    limit_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit_s, what
        time.sleep(0.05)


def resize(browser, width, is_dark=False):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def test_results_come_live_and_a_picture_opens_large(browser, image):
    with shown() as station:
        open_page(browser, station)
        wait_for(lambda: "READY" in text_of(browser, "head"), "the state")
        station.tell(1, images={"top": image(width=400, height=300)})
        wait_for(lambda: "cell-1" in text_of(browser, "verdict"), "the result")
        station.step(plc_trigger=True)
        wait_for(lambda: "Trigger" in browser.execute_script(BITS_ON), "the bit")
        link = "#results a[data-large]"
        wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, link), "the picture")
        browser.find_element(By.CSS_SELECTOR, link).click()
        large = browser.find_element(By.CSS_SELECTOR, "dialog[open] img")
        wait_for(lambda: large.get_property("naturalWidth") == 400, "the large picture")
        station.tell(2)
        wait_for(lambda: "cell-2" in text_of(browser, "verdict"), "the next result")
        assert large.is_displayed()
        browser.find_element(By.CSS_SELECTOR, "dialog button").click()


def test_hostile_names_stay_text(browser, image):
    with shown() as station:
        open_page(browser, station)
        station.tell(1, part_id=HOSTILE, images={"top": image()})
        station.step(plc_part_id=HOSTILE)
        wait_for(lambda: "<script>alert(2)" in text_of(browser, "verdict"), "the name as text")
        wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "#results img"), "the picture")
        browser.find_element(By.CSS_SELECTOR, "#results img").click()
        assert "<script>" in browser.find_element(By.CSS_SELECTOR, "dialog p").text
        sources = [
            element.get_attribute("src") for element in browser.find_elements(By.TAG_NAME, "img")
        ]
        assert all(source.startswith(station.pages.url) for source in sources)
        assert len(browser.find_elements(By.TAG_NAME, "script")) == 1
        open_page(browser, station, "parts/1")
        assert "<script>alert(2)" in browser.find_element(By.TAG_NAME, "main").text


def test_the_page_says_when_it_is_not_live(chromium):
    with shown() as station:
        open_page(chromium, station)
        wait_for(lambda: "READY" in text_of(chromium, "head"), "the page")
        assert text_of(chromium, "news") == ""
    wait_for(lambda: "NOT LIVE" in text_of(chromium, "news"), "the notice")
    assert "stale" in chromium.find_element(By.TAG_NAME, "body").get_attribute("class")
    chromium.get("about:blank")


def test_the_page_reads_without_javascript(browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        with shown() as station:
            station.tell(1)
            open_page(browser, station)
            assert "cell-1" in text_of(browser, "verdict")
            station.tell(2)
            # An element may go while the page is loaded again: its source does not.
            wait_for(lambda: "cell-2" in browser.page_source, "the page that is loaded again")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize(
    ("width", "is_dark"), [(360, False), (360, True), (768, False), (1280, True)]
)
def test_every_verdict_reads_at_every_width(browser, width, is_dark):
    resize(browser, width, is_dark)
    with shown() as station:
        station.vitals = replace(VITALS, errors=tuple(code for code in ErrorCode if code))
        open_page(browser, station)
        for job, outcome in enumerate(OUTCOMES, start=1):
            station.tell(job, outcome, part_id="W" * 32)
            word = outcome.verdict.name.replace("_", " ")
            wait_for(lambda word=word: word in text_of(browser, "verdict"), word)
            assert browser.execute_script(WIDTH) <= width
            contrast, height_px, icon = browser.execute_script(VERDICT)
            assert contrast >= 4.5, word
            assert height_px >= (25 if width == 360 else 50), word
            assert icon.endswith(f"#{outcome.verdict.name}")


BITS_ON = """
const names = document.querySelectorAll("#bits li.on span:nth-child(2)");
return [...names].map((name) => name.textContent);
"""
WIDTH = "return document.documentElement.scrollWidth"
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
