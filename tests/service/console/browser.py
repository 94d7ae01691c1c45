"""A real Chromium, and what its pages did: errors in its console, requests, violations."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.programs import npm_file, program

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--lang=en", "--force-prefers-reduced-motion",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
    "--ignore-certificate-errors", "--host-resolver-rules=MAP line-7.test 127.0.0.1",
)  # fmt: skip
SHOTS = Path(__file__).parents[3] / "screenshots"
WAIT_S = 60.0


class Browser:
    """One Chromium; `clear` makes it forget everything."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def clear(self) -> None:
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        self.driver.get("about:blank")
        self.resize(1280, 900)
        self.errors()
        self.requests()

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def use_theme(self, theme: str) -> None:
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """Return the element, once it is there."""
        return self.until(lambda: next(iter(self.all(selector)), None), selector)

    def until(self, condition: Any, what: str) -> Any:
        """Return the condition's value, once it is true; elements may be replaced meanwhile."""
        ignored = [StaleElementReferenceException]
        wait = WebDriverWait(self.driver, WAIT_S, 0.05, ignored_exceptions=ignored)
        return wait.until(lambda _: condition(), what)

    def text(self, selector: str) -> str:
        """Return the element's text, once it has one."""
        return str(self.until(lambda: self.one(selector).text, selector))

    def errors(self) -> list[str]:
        """Return the errors and warnings in the browser's console since the last call."""
        entries = self.driver.get_log("browser")
        return [one["message"] for one in entries if one["level"] in {"SEVERE", "WARNING"}]

    def requests(self) -> list[str]:
        """Return the addresses that the pages asked for since the last call."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def violations(self) -> list[str]:
        """Ask axe-core whether everybody can use the page."""
        self.driver.execute_script(npm_file("axe-core", "axe.min.js").read_text("utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document).then(r => done(r.violations))"
        )
        return [
            f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
            for one in found
            for node in one["nodes"]
        ]

    def shoot(self, name: str) -> None:
        """Keep a picture of the page, for people to look at."""
        SHOTS.mkdir(exist_ok=True)
        self.driver.save_screenshot(str(SHOTS / f"{name}.png"))

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        script = "return document.documentElement.scrollWidth > window.innerWidth"
        return bool(self.driver.execute_script(script))

    def small_targets(self) -> list[str]:
        """Return the buttons, links and fields that are too small for a finger."""
        script = """
          const wanted = "button, a.button, select, input:not([type=hidden]), summary, nav a";
          return [...document.querySelectorAll(wanted)].filter((one) => {
            const target = one.closest("label") ?? one;
            const box = target.getBoundingClientRect();
            return one.checkVisibility() && (box.height < 43.5 || box.width < 43.5);
          }).map((one) => one.outerHTML.slice(0, 120))
        """
        return list(self.driver.execute_script(script))


def foreign(requests: list[str], url: str) -> list[str]:
    """Return the requests to other hosts."""
    own = urlsplit(url).netloc
    parts = [(address, urlsplit(address)) for address in requests]
    return [a for a, p in parts if p.scheme not in {"data", "blob", "about"} and p.netloc != own]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Run a Chromium with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    try:
        driver.set_script_timeout(WAIT_S)
        yield Browser(driver)
    finally:
        driver.quit()
