"""A document's examples: its fenced blocks, as a reader would paste them.

An HTML comment directly before a block tells the tests how to treat it; readers do not see it:

    <!-- not run: needs a GPU -->        the block is left out, for this reason
    <!-- file: mine.yaml -->             the block is written to a file that later blocks read
    <!-- status: 1 -->                   the block must end with this exit status
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

RUN = ("sh", "python")
"""The languages whose blocks are run."""

TIMEOUT_S = 600
_COMMENT = re.compile(r"<!-- (not run|file|status): (.+?) -->")


@dataclass(frozen=True)
class Example:
    """One fenced block of a document; `line` counts from 1."""

    document: str
    line: int
    language: str
    text: str
    not_run: str | None = None
    file: str | None = None
    status: int = 0

    @property
    def is_run(self) -> bool:
        return self.language in RUN and self.not_run is None and self.file is None

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def examples_in(text: str, document: str) -> Iterator[Example]:
    marks: dict[str, str] = {}
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "html_block":
            marks = dict(_COMMENT.findall(token.content))
        elif token.type == "fence":
            assert token.map is not None
            yield Example(
                document,
                token.map[0] + 1,
                token.info.strip(),
                token.content,
                marks.pop("not run", None),
                marks.pop("file", None),
                int(marks.pop("status", 0)),
            )
        else:
            marks = {}


class ExampleFailed(AssertionError):
    def __init__(self, example: Example, status: int, output: str) -> None:
        super().__init__(f"{example} ends with status {status}:\n{example.text}\n{output[-4000:]}")


def run(example: Example, folder: Path, url: str, environment: Mapping[str, str]) -> str:
    """Paste an example into a shell or into Python, in a folder; return its output.

    `url` replaces the service on port 8000 of the documents. Raises `ExampleFailed`.
    """
    text = re.sub(r"(http://)?(127\.0\.0\.1|localhost):8000", url, example.text)
    if example.language == "python":
        text = re.sub(r'InferenceServerClient\("http://', 'InferenceServerClient("', text)
        command = [sys.executable, "-c", text]
    else:
        command = ["bash", "-euo", "pipefail", "-c", text]
    completed = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if completed.returncode != example.status:
        raise ExampleFailed(example, completed.returncode, completed.stdout)
    return completed.stdout
