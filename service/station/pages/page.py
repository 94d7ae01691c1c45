"""The page as HTML: fragments that are replaced when they change, and the frame around them.

    page = Page()
    page.fragments(status)["verdict"]
    page.whole(status)

Everything from outside is escaped by the templates.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2

from service.station.pages.meanings import words

FRAGMENTS = (
    "head", "errors", "verdict", "counts", "bits", "connections", "takt", "schedule", "results",
    "registers",
)  # fmt: skip
"""In the order of the page. Each is a template, and the id of its element."""

_READS: Mapping[str, tuple[str, ...]] = {
    "head": ("station", "state", "recipe", "is_live", "is_ready"),
    "errors": ("errors", "is_live"),
    "verdict": ("results",),
    "counts": ("counts",),
    "bits": ("bits",),
    "connections": ("connections",),
    "takt": ("takt_ms",),
    "results": ("results",),
    "schedule": ("schedule",),
    "registers": ("registers",),
}
"""The members of the status that a fragment shows: it is rendered again when they change."""


class Page:
    """Renders; keeps each fragment until its part of the status changes."""

    def __init__(self) -> None:
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("service.station.pages", "templates"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        self._templates.filters.update(
            clock=_clock, day=_day, words=words, ms=_ms, mib=_mib, grouped=_grouped
        )
        self._latest: dict[str, tuple[str, str]] = {}

    def fragments(self, status: Mapping[str, Any]) -> dict[str, str]:
        """Return every fragment."""
        return {name: self._fragment(name, status) for name in FRAGMENTS}

    def whole(self, status: Mapping[str, Any]) -> str:
        """Return the page, which reads well without JavaScript."""
        fragments = self.fragments(status)
        return self._templates.get_template("page.html.j2").render(
            station=status["station"], fragments=fragments
        )

    def part(self, station: str, result: Mapping[str, Any]) -> str:
        """Return the page of one part."""
        return self._templates.get_template("part.html.j2").render(station=station, result=result)

    def _fragment(self, name: str, status: Mapping[str, Any]) -> str:
        shown = {member: status[member] for member in _READS[name]}
        key = json.dumps(shown, sort_keys=True)
        latest = self._latest.get(name)
        if latest is None or latest[0] != key:
            text = self._templates.get_template(f"{name}.html.j2").render(shown)
            latest = self._latest[name] = (key, text)
        return latest[1]


def _clock(text: str) -> str:
    """Return a moment as the time of this host's clock."""
    return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S")


def _day(text: str) -> str:
    """Return a moment as day and time of the zone that it names."""
    return datetime.fromisoformat(text).strftime("%a %d %b, %H:%M")


def _ms(value: float | None) -> str:
    if value is None:
        return "–"  # noqa: RUF001 - a dash for people
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _mib(value: int) -> str:
    return f"{value / 2**20:,.1f} MiB"


def _grouped(value: int) -> str:
    return f"{value:,}"
