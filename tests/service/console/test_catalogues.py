"""Every text of the console is in the catalogues, and translated."""

import re

import pytest

from service.console.languages import LANGUAGES, choose
from service.console.pages import STATIC, TEMPLATES
from tests.service.console.catalogues import read, texts, translated

NAMES = {"MambaAD", "px", "ms"}
JINJA = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
TAG = re.compile(r"<!?/?[a-zA-Z][^>]*>", re.DOTALL)
SEEN = re.compile(r'\b(?:title|alt|placeholder|aria-label|aria-description)="([^"]*)"')
PLACEHOLDER = re.compile(r"%\((\w+)\)s")


def outside(template: str) -> list[str]:
    """Return the texts of a template that a person would see and no catalogue has."""
    plain = JINJA.sub("\0", template)
    shown = [*SEEN.findall(plain), *TAG.split(plain)]
    words = [word for text in shown for word in re.findall(r"[^\W\d_]{2,}", text)]
    return [word for word in words if word not in NAMES]


def test_it_finds_texts_outside_the_catalogues():
    assert outside('<p class="lead">Hello {{ _("you") }}</p>') == ["Hello"]
    assert outside('<img alt="A part"><br title="{{ name }}">') == ["part"]


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_no_template_has_a_text_of_its_own(path):
    assert outside(path.read_text("utf-8")) == []


def test_no_script_has_a_text_of_its_own():
    for path in STATIC.glob("*.js"):
        if path.name.endswith(".min.js"):
            continue
        code = re.sub(r"(?m)^\s*//.*$", "", path.read_text("utf-8"))
        strings = re.findall(r'"([^"\n]*)"', code)
        assert [text for text in strings if re.search(r"[A-Z]\w+ \w+ ", text)] == [], path.name


@pytest.mark.parametrize("code", translated())
def test_every_text_is_translated(code):
    catalogue = read(code)
    assert {message.id for message in catalogue if message.id} == set(texts()), (
        "run python -m tests.service.console.catalogues"
    )
    assert [message.id for message in catalogue if message.id and not message.string] == []
    for message in catalogue:
        given = set(PLACEHOLDER.findall(str(message.string)))
        assert not message.id or given == set(PLACEHOLDER.findall(str(message.id))), message.id


@pytest.mark.parametrize(
    ("cookie", "accept", "code"),
    [
        ("", "", "en"),
        ("", "de-AT,de;q=0.9,en;q=0.8", "de"),
        ("", "zh-CN,zh;q=0.9", "zh"),
        ("", "zh-Hans", "zh"),
        ("", "fr-FR,de;q=0.3", "de"),
        ("", "fr", "en"),
        ("zh", "de", "zh"),
        ("../../x", ";;,,\x00", "en"),
    ],
)
def test_a_language_is_chosen(cookie, accept, code):
    assert choose(cookie, accept, "en").code == code


def test_numbers_follow_the_language():
    written = {code: language.number(1234.5, 1) for code, language in LANGUAGES.items()}
    assert written == {"en": "1,234.5", "de": "1.234,5", "zh": "1,234.5"}
