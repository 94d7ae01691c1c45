"""Renders the templates, one environment for each language, and serves their static files."""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.console.languages import LANGUAGES, Language

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that pages load; `tag` changes with its content."""

    content: bytes
    media_type: str
    tag: str


class Pages:
    """The templates and static files of the console.

    html = pages.render("sign_in.html", LANGUAGES["de"], {"wrong": False})
    """

    def __init__(self, zone: tzinfo) -> None:
        self.files: Mapping[str, StaticFile] = {
            path.name: _static_file(path) for path in sorted(STATIC.iterdir()) if path.is_file()
        }
        self._environments = {
            code: self._environment(language, zone) for code, language in LANGUAGES.items()
        }

    def render(self, name: str, language: Language, values: Mapping[str, Any]) -> str:
        """Return a page, or a part of one, as HTML."""
        return self._environments[language.code].get_template(name).render(values)

    def _environment(self, language: Language, zone: tzinfo) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        translations = language.translations
        environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]

        def in_zone(write: Any, moment: datetime) -> str:  # noqa: ANN401
            return str(write(moment, zone))

        environment.filters |= {
            "moment": partial(in_zone, language.moment),
            "day": partial(in_zone, language.day),
            "clock": partial(in_zone, language.clock),
            "number": language.number,
            "share": language.share,
        }
        environment.globals |= {"static": self._address, "language": language}
        return environment

    def _address(self, name: str) -> str:
        """Return a static file's address below the console's; it changes with the content."""
        return f"static/{name}?v={self.files[name].tag[:12]}"


def _static_file(path: Path) -> StaticFile:
    content = path.read_bytes()
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    media_type = _TYPES.get(path.suffix, guessed)
    return StaticFile(content, media_type, hashlib.sha256(content).hexdigest())
