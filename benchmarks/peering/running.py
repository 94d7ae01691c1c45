"""Starts the hosts, and takes turns: each subject in each way once a round."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import ROOT
from benchmarks.peering.subjects import Host

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables of the shell that would override the number of threads."""

_LAST_CHARACTERS = 2_000

Column = tuple[str, str]
"""A subject and a way to compute it."""


@dataclass(frozen=True, slots=True)
class RunningHost:
    """A host that is ready; `about` are its versions and threads."""

    process: "subprocess.Popen[str]"
    log: IO[bytes]
    about: Mapping[str, Any]
    columns: tuple[Column, ...]

    def turn(self, column: Column, times: int) -> list[float]:
        """Return the milliseconds of `times` calls. Raises `CannotMeasure` if one failed."""
        assert self.process.stdin is not None
        try:
            print(json.dumps([*column, times]), file=self.process.stdin, flush=True)
        except BrokenPipeError as error:
            raise CannotMeasure(_ended(self.process, self.log)) from error
        answer = _answer(self.process, self.log)
        if "error" in answer:
            raise CannotMeasure(f"{' in '.join(column)} failed: {answer['error']}")
        times_ms: list[float] = answer["ms"]
        return times_ms


@contextmanager
def started(
    host: Host,
    names: Sequence[str],
    python: Path,
    threads: int,
    prepared: Callable[[str], None],
) -> Iterator[RunningHost]:
    """Start a host, wait until it is ready, and stop it at the end."""
    variables = {n: v for n, v in os.environ.items() if n not in _THREAD_VARIABLES}
    command = [str(python), "-m", host.module, str(threads), *names]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, cwd=ROOT, env={**variables, "PYTHONPATH": str(ROOT)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        ) as process,
    ):  # fmt: skip
        try:
            while "prepared" in (answer := _answer(process, log)):
                prepared(answer["prepared"])
            columns = tuple((name, way) for name, way in answer["calls"])
            yield RunningHost(process, log, answer["about"], columns)
        finally:
            process.kill()


def rounds_of(
    hosts: Sequence[RunningHost], rounds: int, times: int, done: Callable[[], None]
) -> dict[Column, list[float]]:
    """Return the milliseconds of each column; each round begins with another column."""
    turns = [(host, column) for host in hosts for column in host.columns]
    measured: dict[Column, list[float]] = {column: [] for _, column in turns}
    for number in range(rounds):
        first = number % len(turns)
        for host, column in (*turns[first:], *turns[:first]):
            measured[column] += host.turn(column, times)
            done()
    return measured


def _answer(process: "subprocess.Popen[str]", log: IO[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise CannotMeasure(_ended(process, log))
    answer: dict[str, Any] = json.loads(line)
    return answer


def _ended(process: "subprocess.Popen[str]", log: IO[bytes]) -> str:
    code = process.wait()
    log.seek(0)
    last = log.read().decode("utf-8", "replace")[-_LAST_CHARACTERS:].strip()
    return f"{process.args!r} ended with {code}; the end of its log:\n{last}"
