"""The languages of the console: texts from catalogues, dates and numbers by locale.

    language = choose(cookie="", accept="de-AT,de;q=0.9", default="en")
    language.gettext("Sign in")

English texts are the keys of the catalogues. Catalogues are read at the start, so there is nothing
to compile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cache
from io import BytesIO
from pathlib import Path

from babel import Locale, negotiate_locale
from babel.dates import format_date, format_datetime, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations, Translations

CATALOGUES = Path(__file__).parent / "catalogues"
_OF_TAG = {"en": "en", "de": "de", "zh": "zh", "zh_cn": "zh", "zh_hans": "zh", "zh_sg": "zh"}


@dataclass(frozen=True, slots=True)
class Language:
    """A language; `tag` is that of HTML, `name` is its own name of itself."""

    code: str
    tag: str
    name: str
    locale: Locale
    translations: NullTranslations

    def moment(self, moment: datetime, zone: tzinfo) -> str:
        """Return a time with its day and seconds."""
        return format_datetime(moment, "medium", zone, self.locale)

    def day(self, moment: datetime, zone: tzinfo) -> str:
        """Return a time's day."""
        return format_date(moment.astimezone(zone), "medium", self.locale)

    def clock(self, moment: datetime, zone: tzinfo) -> str:
        """Return a time without its day."""
        return format_time(moment, "medium", zone, self.locale)

    def number(self, value: float, digits: int = 0) -> str:
        """Return a number with so many digits after the point."""
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        return format_decimal(value, pattern, self.locale)

    def share(self, value: float, digits: int = 1) -> str:
        """Return a share of one as a percentage."""
        pattern = "#,##0" + ("." + "0" * digits if digits else "") + "%"
        return format_percent(value, pattern, self.locale)


def choose(cookie: str, accept: str, default: str) -> Language:
    """Return the language that a person chose, else the browser's, else the default."""
    if cookie in LANGUAGES:
        return LANGUAGES[cookie]
    wanted = [part.partition(";")[0].strip().replace("-", "_") for part in accept.split(",")[:20]]
    negotiated = negotiate_locale([tag.lower() for tag in wanted if tag], list(_OF_TAG))
    return LANGUAGES[_OF_TAG.get((negotiated or "").lower(), default)]


@cache
def _translations(code: str) -> NullTranslations:
    path = CATALOGUES / f"{code}.po"
    if not path.exists():  # English: the texts are the keys
        return NullTranslations()
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file))
    compiled.seek(0)
    return Translations(compiled)


def _language(code: str, tag: str, name: str) -> Language:
    return Language(code, tag, name, Locale.parse(tag, "-"), _translations(code))


LANGUAGES: Mapping[str, Language] = {
    "en": _language("en", "en", "English"),
    "de": _language("de", "de", "Deutsch"),
    "zh": _language("zh", "zh-Hans", "简体中文"),
}
