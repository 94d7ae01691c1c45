"""The process that decodes costly images: unlike a thread, it can be killed.

It imports only Pillow, NumPy and `model.images`, reads one image after the other from a socket, and
answers with the network's inputs. Its memory is limited to the amount that each image's header
implies. It ends with the service. Its standard error is discarded, because libtiff writes there.
"""

import contextlib
import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from model.errors import ImageError, ImageOverLimit
from model.images.decoding import DecodeLimits
from model.images.preprocess import Preprocessing
from service.inspection.images.inputs import Inputs, Order, inputs_of_file
from service.inspection.images.messages import Head, receive, send

_SLACK_BYTES = 256 * 2**20  # threads reserve address space that they never use
_MARGIN = 1.5
_MAX_CONTENT_BYTES = 2**40  # the service has already checked the real limit


def main(descriptor: int) -> None:
    """Decode one image after the other, until the service closes its end of the socket."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the service handles a terminal's Ctrl-C
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=_end_with_service, args=[descriptor], daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        send(connection, {})  # ready
        while True:
            head, (content,) = receive(connection, _MAX_CONTENT_BYTES)
            _limit_memory(head["peak_bytes"])
            answer, bodies = _answer(head, bytes(content))
            send(connection, answer, *bodies)


def _answer(head: Head, content: bytes) -> tuple[Head, Sequence[bytes | memoryview]]:
    rule, shadow = (rule and Preprocessing.from_dict(rule) for rule in head["rules"])
    order = Order(rule, shadow, head["max_tiles"], head["keep"])
    try:
        return _message(inputs_of_file(content, DecodeLimits(*head["limits"]), order))
    except MemoryError:
        error: Exception = ImageOverLimit("decoding takes more memory than its header implies")
    except ImageError as refused:
        error = refused
    return {"error": type(error).__name__, "message": str(error)}, []


def _message(inputs: Inputs) -> tuple[Head, Sequence[bytes | memoryview]]:
    arrays = [inputs.pixels]
    if inputs.shadow_pixels is not None and inputs.shadow_pixels is not inputs.pixels:
        arrays.append(inputs.shadow_pixels)
    head = {
        "size": inputs.size,
        "shapes": [array.shape for array in arrays],
        "has_shadow": inputs.shadow_pixels is not None,
        "mode": inputs.image.mode if inputs.image else None,
        "timings_ms": [inputs.decode_ms, inputs.preprocess_ms],
    }
    picture = [inputs.image.tobytes()] if inputs.image else []
    return head, [*map(_flat, arrays), *picture]


def _flat(array: UInt8[np.ndarray, "n 3 h w"]) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B")


def _limit_memory(peak_bytes: int) -> None:
    """Limit the process to `peak_bytes` more, with a margin; beyond it raises `MemoryError`."""
    with contextlib.suppress(OSError, ValueError):  # only Linux has /proc and this limit
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        limit = pages * resource.getpagesize() + int(_MARGIN * peak_bytes) + _SLACK_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _end_with_service(descriptor: int) -> None:
    """End the process as soon as the service has closed its end, even while decoding."""
    hangup = select.poll()
    hangup.register(descriptor, 0)  # only reports a hangup
    hangup.poll()
    os._exit(1)
