"""Every example in README.md and docs/ works when pasted."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.examples import RUN, Example, ExampleFailed, examples_in, run
from tests.documents.workspace import ROOT, prepare
from tests.service.live import serving

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REASONS = re.compile(r"needs (a GPU|Docker|root|the internet|another host|hours|torch)|CI runs it")
"""Allowed reasons: the tests cannot run it, or something else does."""

EXAMPLES = {
    document: list(examples_in(document.read_text("utf-8"), document.name))
    for document in DOCUMENTS
}
TAKES_MINUTES = re.compile(r"mambaad (train|reproduce|export|serve)|demo\.")
"""Documents with such commands are run only by `make docs-check`, in CI."""


class Workspace:
    """A folder with all that the documents name, and a service on a copy of the store."""

    def __init__(self, folder: Path, url: str, environment: dict[str, str]) -> None:
        self.folder = folder
        self._url = url
        self._environment = environment

    def run(self, example: Example) -> str:
        if example.file:
            (self.folder / example.file).write_text(example.text, "utf-8")
            return ""
        return run(example, self.folder, self._url, self._environment)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("pasted")
    environment = prepare(folder)
    served = tmp_path_factory.mktemp("served") / "weights"
    shutil.copytree(folder / "weights", served)
    (folder / "state").symlink_to(served.parent / "state")
    with serving(served, versions__state_dir=served.parent / "state") as live:
        yield Workspace(folder, live.url, {**environment, "MAMBAAD_URL": live.url})


def documents_with_examples() -> list[object]:
    parameters: list[object] = []
    for document, examples in EXAMPLES.items():
        pasted = "".join(example.text for example in examples if example.is_run)
        marks = [pytest.mark.long] if TAKES_MINUTES.search(pasted) else []
        if pasted:
            parameters.append(pytest.param(document, id=document.name, marks=marks))
    return parameters


@pytest.mark.parametrize("document", documents_with_examples())
def test_the_examples_of_a_document_run_as_pasted(document: Path, workspace: Workspace) -> None:
    for example in EXAMPLES[document]:
        if example.is_run or example.file:
            workspace.run(example)


def test_what_is_left_out_has_a_reason() -> None:
    left_out = [e for examples in EXAMPLES.values() for e in examples if e.not_run]
    assert [str(e) for e in left_out if not REASONS.search(e.not_run or "")] == []
    assert all(e.language in RUN for e in left_out), "blocks in other languages are never run"


def test_a_broken_example_is_noticed(tmp_path: Path) -> None:
    text = "Do:\n\n<!-- file: a.txt -->\n```\nhello\n```\n\n```sh\ncat a.txt\ncat gone.txt\n```\n"
    text += "\n<!-- not run: needs root -->\n\n```python\n1 / 0\n```\n```python\n1 / 0\n```\n"
    written, pasted, left_out, python = examples_in(text, "x.md")
    space = Workspace(tmp_path, "", {})
    space.run(written)
    with pytest.raises(ExampleFailed, match=r"x.md:8 ends with status 1(.|\n)*hello(.|\n)*gone"):
        space.run(pasted)
    assert (left_out.is_run, left_out.not_run) == (False, "needs root")
    with pytest.raises(ExampleFailed, match="ZeroDivisionError"):
        space.run(python)
