"""The alerts and what to do about each, from docs/operate.md, also without internet.

`python -m tests.service.console.system.runbook_data` makes runbooks.json from the document and
from docker/prometheus/alerts.yml.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markdown_it import MarkdownIt
from markupsafe import Markup

FILE = Path(__file__).parent / "runbooks.json"


@dataclass(frozen=True, slots=True)
class Runbook:
    """An alert, or a section that a runbook refers to: then `severity` is empty.

    `condition` is in PromQL, and must hold for a time of `lasts`; `text` is Markdown.
    """

    name: str
    text: str
    severity: str = ""
    summary: str = ""
    condition: str = ""
    lasts: str = ""


def read_runbooks(path: Path = FILE) -> Mapping[str, Runbook]:
    """Return the runbooks by name, in the order of the document."""
    entries: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return {entry["name"]: Runbook(**entry) for entry in entries}


RUNBOOKS = read_runbooks()
_NAMES = {name.lower().replace(" ", "-"): name for name in RUNBOOKS}


def html_of(runbook: Runbook, address: str) -> Markup:
    """Return the text as HTML; links to other runbooks lead to `address`/NAME."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = markdown.parse(runbook.text)
    for token in (child for block in tokens for child in block.children or ()):
        if token.type == "link_open":
            name = _NAMES.get(str(token.attrs["href"]).removeprefix("#"), "")
            token.attrs["href"] = f"{address}/{quote(name)}"
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))
