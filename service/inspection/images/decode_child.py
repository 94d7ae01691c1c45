"""The process that decodes an image which is dear: it can be killed, and a thread cannot.

It imports Pillow, NumPy and `model`'s images alone, takes one image after the other from a socket,
and answers with the network's inputs. Its memory is limited to what each image declares, and it
ends with the service. Its standard error goes nowhere: libtiff writes there as it likes.
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

_SLACK_BYTES = 256 * 2**20  # threads reserve addresses that they never use
_MARGIN = 1.5
_MAX_CONTENT_BYTES = 2**40  # the service has looked at that already


def main(descriptor: int) -> None:
    """Serve one image after the other, until the service closes its end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal's Ctrl-C is for the service to handle
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=_end_with_service, args=[descriptor], daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        send(connection, {})  # it is ready
        while True:
            head, (content,) = receive(connection, _MAX_CONTENT_BYTES)
            _limit_memory(head["peak_bytes"])
            answer, bodies = _answer(head, bytes(content))
            send(connection, answer, *bodies)


def _answer(head: Head, content: bytes) -> tuple[Head, Sequence[bytes | memoryview]]:
    rule, shadow = (rule and Preprocessing.from_dict(rule) for rule in head["rules"])
    order = Order(rule, shadow, head["max_tiles"], head["keep"])
    try:
        return _told(inputs_of_file(content, DecodeLimits(*head["limits"]), order))
    except MemoryError:
        error: Exception = ImageOverLimit("decoding takes more memory than the header declares")
    except ImageError as refused:
        error = refused
    return {"error": type(error).__name__, "message": str(error)}, []


def _told(inputs: Inputs) -> tuple[Head, Sequence[bytes | memoryview]]:
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
    """Let the process allocate what this image declares, and no more: then it is `MemoryError`."""
    with contextlib.suppress(OSError, ValueError):  # not on Linux: then there is no such limit
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        limit = pages * resource.getpagesize() + int(_MARGIN * peak_bytes) + _SLACK_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _end_with_service(descriptor: int) -> None:
    """End the process at once where the service has gone, whatever is being decoded."""
    gone = select.poll()
    gone.register(descriptor, 0)  # nothing but that the other side has closed
    gone.poll()
    os._exit(1)
