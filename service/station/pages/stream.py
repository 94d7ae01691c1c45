"""Live updates: each changed fragment of the page, rendered once for all browsers.

    stream = Stream(render, version=lambda: board.version, most=20)
    async for message in stream.messages():     # one browser
        ...

A browser gets at most ten messages a second. A slow one gets the newest fragments, none twice.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping

logger = logging.getLogger("service.stream")

PACE_S = 0.1
_LOOK_ANYWAY_S = 1.0
"""The service and the PLC's connections change without a step of the station."""

Render = Callable[[], Mapping[str, str]]


class TooManyBrowsers(Exception):
    """No further browser gets live updates."""


class Browser:
    """Fragments that one browser has not got yet."""

    def __init__(self, fragments: Mapping[str, str]) -> None:
        self.pending = dict(fragments)
        self.wake = asyncio.Event()
        self.wake.set()


class Stream:
    """Belongs to one event loop; `run` renders, `close` ends all messages at once."""

    def __init__(self, render: Render, version: Callable[[], int], most: int) -> None:
        self._render = render
        self._version = version
        self._most = most
        self._fragments: dict[str, str] = {}
        self._browsers: set[Browser] = set()
        self._is_closed = False

    @property
    def browsers(self) -> int:
        """The number of browsers that get live updates."""
        return len(self._browsers)

    async def run(self) -> None:
        """Render what has changed while somebody looks, until it is cancelled."""
        rendered, rendered_at_s = -1, 0.0
        while True:
            await asyncio.sleep(PACE_S)
            now_s = asyncio.get_running_loop().time()
            version = self._version()
            is_due = version != rendered or now_s >= rendered_at_s + _LOOK_ANYWAY_S
            if self._browsers and is_due:
                rendered, rendered_at_s = version, now_s
                self._publish()

    def enter(self) -> "Browser":
        """Add a browser, which gets every fragment first. Raises `TooManyBrowsers`."""
        if len(self._browsers) >= self._most:
            raise TooManyBrowsers
        if not self._browsers:
            self._fragments = dict(self._render())
        browser = Browser(self._fragments)
        self._browsers.add(browser)
        return browser

    async def messages(self, browser: "Browser") -> AsyncIterator[str]:
        """Yield a browser's messages, until it goes or the station ends."""
        yield "retry: 2000\n\n"
        while not self._is_closed:
            await browser.wake.wait()
            browser.wake.clear()
            if browser.pending:
                fragments, browser.pending = browser.pending, {}
                yield f"data: {json.dumps(fragments)}\n\n"
                await asyncio.sleep(PACE_S)
        yield "event: end\ndata:\n\n"

    def leave(self, browser: "Browser") -> None:
        """Forget a browser."""
        self._browsers.discard(browser)

    def close(self) -> None:
        """End all messages."""
        self._is_closed = True
        for browser in self._browsers:
            browser.wake.set()

    def _publish(self) -> None:
        try:
            fragments = self._render()
        except Exception:
            logger.exception("the status page cannot be rendered")
            return
        changed = {
            name: text for name, text in fragments.items() if self._fragments.get(name) != text
        }
        self._fragments = dict(fragments)
        for browser in self._browsers:
            browser.pending.update(changed)
            browser.wake.set()
