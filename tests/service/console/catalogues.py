"""The texts of the console's templates, and their catalogues.

`python -m tests.service.console.catalogues` adds new texts to every catalogue, untranslated, and
removes those that no template has any more.
"""

from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

from service.console.languages import CATALOGUES, LANGUAGES
from service.console.pages import TEMPLATES

DROPPED = ('"POT-', '"PO-Rev', '"Last-', '"Report-', '"Language-Team', '"Generated', "#")
OPTIONS = {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}


def texts() -> dict[str, str]:
    """Return every text of the templates, and the name of the first template that has it."""
    found: dict[str, str] = {}
    for path in sorted(TEMPLATES.iterdir()):
        with path.open("rb") as file:
            for _, message, _, _ in extract(babel_extract, file, options=OPTIONS):
                found.setdefault(message, path.name)
    return found


def read(code: str) -> Catalog:
    path = CATALOGUES / f"{code}.po"
    return read_po(BytesIO(path.read_bytes())) if path.exists() else Catalog(code)


def translated() -> list[str]:
    """The codes of the languages that have a catalogue; the texts themselves are English."""
    return [code for code in LANGUAGES if code != "en"]


def write(code: str) -> None:
    old, new = read(code), Catalog(code, project="mambaad", version="1", charset="utf-8")
    for text in sorted(texts()):
        message = old.get(text)
        new.add(text, message.string if message else "")
    content = BytesIO()
    write_po(content, new, width=100, omit_header=False)
    lines = content.getvalue().decode().splitlines()
    head = [line for line in lines if not line.startswith(DROPPED)]
    Path(CATALOGUES / f"{code}.po").write_text("\n".join(head).strip() + "\n", "utf-8")


if __name__ == "__main__":
    for code in translated():
        write(code)
