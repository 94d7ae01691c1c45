"""The documents name only existing things: settings, commands, links, paths, modules, rooms."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from service.settings import Settings, variables
from service.settings.flat_names import FLAT_NAMES

ROOT = Path(__file__).parents[2]
PACKAGES = ("model", "service")
FOLDERS = (*PACKAGES, "benchmarks", "demo", "docker", "docs", "tests")
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "*/*.md", "benchmarks/*/*.md", "tests/*/*.md")
    for path in ROOT.glob(pattern)
)
PROGRAMS = [ROOT / "Makefile", ROOT / ".ci/run", ROOT / "docker/Dockerfile"]
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
PATH = re.compile(rf"(?<![\w./:-])(?:{'|'.join(FOLDERS)})/[\w./*-]*[\w*/]")
SOURCE = re.compile(r"(?<![\w./-])[\w/]+\.py\b")
RUN_AS_MODULE = re.compile(r"\bpython[\d.]* -m ([\w.]*\w)")
DOTTED = re.compile(rf"`((?:{'|'.join(PACKAGES)})\.[\w.]*\w)")
NO_MODULES = {"model.onnx"}  # a file of a checkpoint
NO_SOURCES = {"utils.py"}  # there is none; see CONTRIBUTING.md


def settings_table() -> dict[str, str]:
    """Map each variable in docs/settings.md to its default."""
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
        assert default in (None, (), "") or default is PydanticUndefined


def endings(sources: list[Path]) -> set[str]:
    """Yield a file's name alone, with its folder, with the folder above, ..."""
    parts = [path.relative_to(ROOT).parts for path in sources]
    return {"/".join(names[start:]) for names in parts for start in range(len(names))}


def resolves(name: str) -> bool:
    try:
        import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return hasattr(import_module(module), attribute)
    return True


def runs(module: str) -> bool:
    spec = find_spec(module)
    is_package = spec is not None and spec.submodule_search_locations is not None
    return find_spec(f"{module}.__main__") is not None if is_package else spec is not None


def rooms_in_the_tree() -> list[str]:
    """Two spaces of indentation are one level of rooms."""
    tree = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("```")[1]
    above: list[str] = []
    rooms = []
    for indent, name in re.findall(r"^( *)(\w+)/(?: |$)", tree, re.MULTILINE):
        above = [*above[: len(indent) // 2], name]
        rooms.append("/".join(above))
    return rooms


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path):
    text = document.read_text("utf-8")
    missing = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_paths_and_modules_in_the_documents_exist(document: Path):
    text = document.read_text("utf-8")
    assert [path for path in PATH.findall(text) if not any(ROOT.glob(path))] == []
    assert set(SOURCE.findall(text)) - endings(SOURCES) - NO_SOURCES == set()
    assert [n for n in DOTTED.findall(text) if n not in NO_MODULES and not resolves(n)] == []


def test_what_is_run_by_python_m_can_be_run():
    named = {
        module
        for file in {*DOCUMENTS, *SOURCES, *PROGRAMS} - {Path(__file__)}
        for module in RUN_AS_MODULE.findall(file.read_text("utf-8"))
    }
    assert {"benchmarks.load", "docker.image_check", "demo.solar"} <= named
    assert [module for module in sorted(named) if not runs(module)] == []


def test_the_tree_in_the_architecture_names_every_room_once():
    folders = {file.parent.relative_to(ROOT).as_posix() for file in SOURCES}
    assert sorted(rooms_in_the_tree()) == sorted(
        folder for folder in folders if folder.partition("/")[0] in PACKAGES
    )


def test_what_does_not_exist_is_noticed():
    assert PATH.findall("see `service/gone.py` and tests/gone/, ./model/x, a/model/y") == [
        "service/gone.py",
        "tests/gone/",
    ]
    assert SOURCE.findall("`plan.py`, http/gone.py::test_x") == ["plan.py", "http/gone.py"]
    assert RUN_AS_MODULE.findall("`python -m benchmarks.gone --json` or python3 -m pip.") == [
        "benchmarks.gone",
        "pip",
    ]
    assert not runs("benchmarks.gone")
    assert not runs("service.api")
    assert not resolves("model.images.preprocess.gone")
    assert resolves("model.images.preprocess.upright")


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
