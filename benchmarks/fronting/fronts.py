"""Starts measured processes, and posts to them.

with front(variant, store, findings) as subject:
    subject.measure(posting, requests=200)
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fronting.postings import Posting

_SERVING = Path(__file__).with_name("serving.py")
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Variant:
    """A checkout to measure, with the archive on or off."""

    name: str
    root: Path
    has_archive: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """The processor time of the front, and the requests it answered a second."""

    cpu_ms_per_image: float
    system_share: float
    images_per_s: float


@dataclass(frozen=True, slots=True)
class Front:
    """A running front process."""

    process: "subprocess.Popen[str]"
    port: int
    log_file: Path

    def await_listening(self) -> None:
        """Wait until the ready service accepts connections."""
        while True:
            try:
                socket.create_connection((_HOST, self.port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return

    def measure(self, posting: Posting, requests: int) -> Cost:
        """Post that many requests over kept connections; return their cost."""
        return asyncio.run(self._measure(posting, requests))

    def decoding_ms(self, category: str, count: int = 200) -> float:
        """Return the processor time of decoding one image."""
        return 1000 * float(self._ask(f"decode {category} {count}"))

    def answer(self, message: bytes) -> bytes:
        """Return the answer to one request."""
        return asyncio.run(self._answers([message], 1))[0]

    async def _measure(self, posting: Posting, requests: int) -> Cost:
        message = posting.message
        await self._answers([message] * posting.connections, posting.connections)
        before, started = self._ask("usage"), time.perf_counter()
        answers = await self._answers([message] * requests, posting.connections)
        seconds, after = time.perf_counter() - started, self._ask("usage")
        for answer in answers:
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:1000]
        user, system = (after[name] - before[name] for name in ("user_s", "system_s"))
        images = requests * posting.images
        return Cost(1000 * (user + system) / images, system / (user + system), images / seconds)

    async def _answers(self, messages: list[bytes], connections: int) -> list[bytes]:
        waiting, answers = iter(messages), list[bytes]()

        async def line() -> None:
            reader, writer = await asyncio.open_connection(_HOST, self.port, limit=2**26)
            for message in waiting:
                writer.write(message)
                head = await reader.readuntil(b"\r\n\r\n")
                answers.append(head + await reader.readexactly(_body_bytes(head)))
            writer.close()

        await asyncio.gather(*(line() for _ in range(connections)))
        return answers

    def _ask(self, line: str) -> Any:  # noqa: ANN401 - JSON
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def front(variant: Variant, store: Path, findings: Path) -> Iterator[Front]:
    """Run the front of a variant, with a new archive if it has one."""
    with tempfile.TemporaryDirectory(prefix="mambaad-front-") as folder:
        state = [f"{folder}/state"] if variant.has_archive else []
        log_file = Path(folder) / "log"
        environment = {**os.environ, "PYTHONPATH": str(variant.root), "OMP_NUM_THREADS": "1"}
        with (
            log_file.open("w") as log,
            subprocess.Popen(
                [sys.executable, str(_SERVING), str(store), str(findings), *state],
                env=environment, cwd=variant.root, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            ) as process,
        ):  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(log_file.read_text())
                subject = Front(process, json.loads(line), log_file)
                subject.await_listening()
                yield subject
            finally:
                process.stdin.close()
                process.wait()


def _body_bytes(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise AssertionError(f"an answer without a length: {head[:1000]!r}")
