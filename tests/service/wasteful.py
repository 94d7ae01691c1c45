"""A stand-in for a wasteful service, for the budget's own tests.

    python -m tests.service.wasteful

It prints its address. A POST to a path wastes one resource: see `WASTE`. GET /livez is answered.
"""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable

MEGABYTES, SECONDS = 300, 1.0
ALLOCATE = f"import time; kept = b'x' * ({MEGABYTES} * 2**20); time.sleep(0.2)"


def allocate() -> None:
    """Free the memory before the answer."""
    taken = b"x" * (MEGABYTES * 2**20)
    del taken


def allocate_in_child() -> None:
    subprocess.run([sys.executable, "-c", ALLOCATE], check=True)


def block() -> None:
    """Without computing."""
    time.sleep(SECONDS)


def burn() -> None:
    until = time.process_time() + SECONDS
    while time.process_time() < until:
        pass


def burn_in_child() -> None:
    subprocess.run([sys.executable, "-c", f"from {NAME} import burn; burn()"], check=True)


def burn_later() -> None:
    """Beside the event loop."""
    child = subprocess.Popen([sys.executable, "-c", f"from {NAME} import burn; burn()"])
    threading.Thread(target=child.wait).start()


NAME = "tests.service.wasteful"
WASTE: dict[str, Callable[[], None]] = {
    "/allocate": allocate,
    "/allocate-in-child": allocate_in_child,
    "/block": block,
    "/burn": burn,
    "/burn-in-child": burn_in_child,
    "/burn-later": burn_later,
    "/nothing": lambda: None,
}
BESIDE = {"/allocate-in-child", "/burn-in-child"}
"""Wasted in a thread that only waits, so that the event loop is not blocked as well."""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.decode("ascii").split(" ", 2)
            if method == "POST":
                await (asyncio.to_thread(WASTE[path]) if path in BESIDE else _now(WASTE[path]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    except (OSError, EOFError):
        writer.close()


async def _now(waste: Callable[[], None]) -> None:
    waste()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
