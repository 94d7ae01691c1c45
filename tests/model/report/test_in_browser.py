"""The report in Chromium: for everybody, on narrow screens, and on paper."""

import re

import pytest

from tests.model.report.test_report import report, samples
from tests.model.report.test_self_check import CALIBRATION, CHOICE, RECIPE, checked, page
from tests.programs import program
from tests.service.console.browser import chromium

__all__ = ["samples"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program("chromedriver")
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


def test_everybody_can_read_it_on_any_screen_and_on_paper(browser, tmp_path, samples):
    page(tmp_path, samples, {**checked(CALIBRATION), **RECIPE, "choice": CHOICE})
    browser.clear()
    browser.open((tmp_path / "report.html").as_uri())
    for width in (1280, 360):
        browser.resize(width, 900)
        assert not browser.overflows()
        assert browser.violations() == []
        browser.shoot(f"report-{width}")
    assert browser.errors() == []
    assert all(url.startswith(("file:", "data:", "about:")) for url in browser.requests())
    # Nothing is wider than the paper, and no chart lies across two pages.
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert len(printed["data"]) > 10_000
    cut = """
      return [...document.querySelectorAll("svg, img, .verdict, .signatures")].filter((one) => {
        const box = one.closest("figure, .verdict, table") ?? one;
        return !["avoid"].includes(getComputedStyle(box).breakInside);
      }).map((one) => one.outerHTML.slice(0, 80))
    """
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        unguarded = browser.driver.execute_script(cut)
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert [one for one in unguarded if 'class="scale"' not in one] == []


def test_the_checkpoint_is_on_each_page(tmp_path, samples):
    text = report(tmp_path, samples)
    header = re.search(r'@top-left \{ content: "([^"]*)"', text)[1]
    assert header.startswith("parts, version 1 ")
    assert 'counter(page) " of " counter(pages)' in text
