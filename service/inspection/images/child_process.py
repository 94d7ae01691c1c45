"""The service's side of one decode child: spawn, exchange messages, kill."""

import socket
import subprocess
import sys
from dataclasses import astuple
from threading import Lock

import numpy as np
from PIL import Image

from model import errors
from model.images.decoding import DecodeLimits
from service.inspection.images.inputs import Inputs, Order
from service.inspection.images.messages import Head, receive, send

_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import main; main({descriptor})"
_BAND_BYTES = 2**22
_MODULE = "service.inspection.images.decode_child"


class ChildDied(Exception):
    """The process ended before it answered; the message says how it ended."""


class DecodeChild:
    """A process that decodes one image at a time. Its methods block: call them in a thread.

    `kill` may be called from any other thread.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._is_killed = False

    @property
    def pid(self) -> int | None:
        """The process's id; None before it is started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Spawn the process if needed, and wait until it is ready. Raises `ChildDied`."""
        if self._connection is None:
            try:
                self._connection = self._spawned()
                receive(self._connection, max_bytes=0)
            except (EOFError, OSError, ValueError) as error:
                raise ChildDied(self._ending(error)) from error

    def inputs(self, content: bytes, order: Order, peak_bytes: int) -> Inputs:
        """Decode and frame an image; call `start` first. Raises `ImageError` or `ChildDied`."""
        assert self._connection is not None
        try:
            send(self._connection, self._request(order, peak_bytes), content)
            head, bodies = receive(self._connection, peak_bytes)
        except (EOFError, OSError, ValueError) as error:
            raise ChildDied(self._ending(error)) from error
        if "error" in head:
            raise _refusal(head)
        return _read(head, bodies)

    def kill(self) -> None:
        """Kill the process, or prevent its start."""
        with self._lock:
            self._is_killed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Kill the process and wait until it has ended."""
        self.kill()
        self._ending(None)

    def _spawned(self) -> socket.socket:
        connection, child_end = socket.socketpair()
        with self._lock, child_end:
            if not self._is_killed:
                self._process = _spawn(child_end.fileno())
        return connection

    def _request(self, order: Order, peak_bytes: int) -> Head:
        return {
            "limits": astuple(self._limits),
            "rules": [order.rule.to_dict(), order.shadow and order.shadow.to_dict()],
            "max_tiles": order.max_tiles,
            "keep": order.keep,
            "peak_bytes": peak_bytes,
        }

    def _ending(self, error: Exception | None) -> str:
        """Kill and reap the process; return how it ended."""
        self.kill()
        if self._connection is not None:
            self._connection.close()
        if self._process is None:
            return f"it was not started: {error}"
        status = self._process.wait()
        return f"exit code {status}" if status >= 0 else f"signal {-status}"


def _spawn(descriptor: int) -> "subprocess.Popen[bytes]":
    program = _PROGRAM.format(path=sys.path, module=_MODULE, descriptor=descriptor)
    return subprocess.Popen(
        [sys.executable, "-c", program],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _refusal(head: Head) -> errors.ImageError:
    kinds = (errors.ImageFormatRefused, errors.ImageOverLimit, errors.ImageDamaged)
    by_name = {kind.__name__: kind for kind in kinds}
    return by_name.get(head["error"], errors.ImageError)(head["message"])


def _read(head: Head, bodies: list[memoryview]) -> Inputs:
    arrays = [
        np.frombuffer(body, np.uint8).reshape(shape)
        for body, shape in zip(bodies, head["shapes"], strict=False)
    ]
    size = (int(head["size"][0]), int(head["size"][1]))
    picture = _picture(head["mode"], size, bodies[-1]) if head["mode"] else None
    decode_ms, preprocess_ms = head["timings_ms"]
    return Inputs(
        size,
        arrays[0],
        arrays[-1] if head["has_shadow"] else None,
        picture,
        decode_ms=decode_ms,
        preprocess_ms=preprocess_ms,
    )


def _picture(mode: str, size: tuple[int, int], content: memoryview) -> Image.Image:
    """Return pixels as an image, some rows at a time: Pillow holds the GIL during each copy."""
    picture = Image.new(mode, size)
    width, height = size
    row_bytes = len(content) // height
    rows = max(1, _BAND_BYTES // row_bytes)
    for top in range(0, height, rows):
        band = content[top * row_bytes : (top + rows) * row_bytes]
        band_size = (width, len(band) // row_bytes)
        picture.paste(Image.frombytes(mode, band_size, bytes(band)), (0, top))
    return picture
