"""What the documents say is there, is there: settings, commands, links, targets of make."""

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from service.settings import Settings, variables
from service.settings.flat_names import FLAT_NAMES

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md")])
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def settings_table() -> dict[str, str]:
    """Map each variable that docs/settings.md names to the default it states."""
    rows = re.findall(r"^\| `(MAMBAAD_\w+)` \| *`?([^`|]*?)`? *\|", SETTINGS, re.MULTILINE)
    return dict(rows)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def test_the_settings_page_names_every_setting():
    assert set(settings_table()) == set(variables()) - set(FLAT_NAMES)


@pytest.mark.parametrize(("name", "stated"), settings_table().items())
def test_the_stated_defaults_are_the_real_ones(name: str, stated: str):
    room, field = variables()[name]
    model = type(getattr(Settings(), room))
    default = model.model_fields[field].default
    if stated:
        assert model.model_validate({field: stated}) == model.model_validate({field: default})
    else:
        assert default in (None, ()) or default is PydanticUndefined


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path):
    text = document.read_text("utf-8")
    missing = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert not missing


def test_the_make_commands_in_the_documents_exist():
    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(
            r"(?:^|`)make ([a-z-]+)", document.read_text("utf-8"), re.MULTILINE
        )
    }
    assert named - make_targets() == set()
    assert {"run", "test", "check"} <= named
