"""A real Chromium on the page Live: when each part was first on the screen."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.consoling.streams import Seen
from tests.service.console.browser import Browser, chromium

_WATCH = """
  const seen = window.seenParts = {};
  const note = () => requestAnimationFrame(() => {
    const now = performance.timeOrigin + performance.now();
    for (const one of document.querySelectorAll("[data-part]")) {
      if (!(one.dataset.part in seen)) seen[one.dataset.part] = now;
    }
  });
  note();
  new MutationObserver(note).observe(document.getElementById("board"), {childList: true});
"""


class Screen:
    """A browser that shows Live, or nothing."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url

    def show(self) -> None:
        """Open Live, and watch it."""
        self._browser.open(f"{self._url}/console/live")
        self._browser.until(lambda: self._browser.one("[data-link=live]").is_displayed(), "stream")
        self._browser.driver.execute_script(_WATCH)

    def seen(self) -> Seen:
        """Return when each part was painted."""
        times: dict[str, float] = self._browser.driver.execute_script("return window.seenParts")
        return {part: ms / 1000 for part, ms in times.items()}

    def leave(self) -> None:
        """Show nothing; the stream ends."""
        self._browser.open("about:blank")


@contextmanager
def screen(url: str) -> Iterator[Screen]:
    """Run a Chromium during the block."""
    with (
        tempfile.TemporaryDirectory(prefix="mambaad-chromium-") as folder,
        chromium(Path(folder)) as browser,
    ):
        browser.resize(1920, 1080)
        yield Screen(browser, url)
