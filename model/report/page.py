"""Fill a template and write the page."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from model.errors import ModelError

COLUMNS = {
    "image_auroc": "Image AUROC",
    "image_ap": "Image AP",
    "image_f1_max": "Image F1-max",
    "pixel_auroc": "Pixel AUROC",
    "pixel_ap": "Pixel AP",
    "pixel_f1_max": "Pixel F1-max",
    "aupro": "AUPRO 30 %",
    "aupro_5": "AUPRO 5 %",
    "aupimo": "AUPIMO",
    "false_reject_rate": "False rejects",
    "escape_rate": "Escapes",
}


def write_page(file: Path, template: str, context: Mapping[str, Any]) -> None:
    """Render a template and write it. Raises `ModelError` if the file cannot be written."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("model.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "percent": percent, "points": points, "css_text": css_text, "ms": milliseconds
    }  # fmt: skip
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = environment.get_template(template).render({"made": made, **context})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8", "backslashreplace")  # file names may contain any byte
    except OSError as error:
        raise ModelError(f"cannot write the report {file}: {error}") from error


def percent(value: float | None) -> str:
    """Return a share in percent with one decimal, a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"  # noqa: RUF001 - a dash, typeset


def points(value: float | None) -> str:
    """Return a difference in percentage points, with its sign."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")  # noqa: RUF001


def milliseconds(value: float | None) -> str:
    """Return a time in ms with one decimal, a dash for None."""
    return "–" if value is None else f"{value:.1f}"  # noqa: RUF001 - a dash, typeset


def css_text(text: str) -> Markup:
    """Return text for a string in a style sheet: all but plain characters as escapes."""
    return Markup(re.sub(r"[^A-Za-z0-9 .,_-]", lambda found: f"\\{ord(found[0]):x} ", text))
