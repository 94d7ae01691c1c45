"""The conversation of the measuring process and a host, a process that holds its subjects ready.

A line each, on the host's standard output and input:

    host       {"prepared": "padim-resnet18"}                after each subject
    host       {"about": {...}, "calls": [["padim-resnet18", "torch"], ...]}
    measuring  ["padim-resnet18", "torch", 3]
    host       {"ms": [71.2, 70.9, 71.4]}

A call that failed is {"error": "..."}. Needs only the standard library.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

Call = Callable[[], object]
Prepare = Callable[[str], Mapping[str, Call]]

WARM_UP = 3


def serve(names: list[str], prepare: Prepare, about: Callable[[], Mapping[str, Any]]) -> None:
    """Prepare each subject's ways and warm them up, then time calls until the input ends."""
    answers = _private_output()
    calls: dict[tuple[str, str], Call] = {}

    def answer(value: Mapping[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    for name in names:
        for way, call in prepare(name).items():
            for _ in range(WARM_UP):
                call()
            calls[name, way] = call
        answer({"prepared": name})
    answer({"about": about(), "calls": list(calls)})
    for name, way, times in _requests():
        try:
            answer({"ms": timed(calls[name, way], times)})
        except Exception as error:  # the measuring process reports it
            answer({"error": repr(error)})


def timed(call: Call, times: int) -> list[float]:
    """Return the milliseconds of `times` calls; a call before them is not timed."""
    call()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return taken


def _private_output() -> IO[str]:
    """Return the standard output; later prints, also those of libraries, go to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _requests() -> Iterator[tuple[str, str, int]]:
    for line in sys.stdin:
        name, way, times = json.loads(line)
        yield name, way, times
