"""Cameras by OpenCV: video devices (V4L2 on Linux), and RTSP streams by its FFmpeg."""

import math
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.station.cameras.sources.clocks import StreamClock, driver_time
from service.station.cameras.sources.source import Pixels, SourceLost
from service.station.settings import StreamCamera, UsbCamera

if TYPE_CHECKING:
    import cv2

_CONNECT_MS = 3_000
"""OpenCV connects one stream after another, so that one that is away holds up the others."""
_MAX_BUFFERED = 4
"""Frames that a driver holds at most: as many as OpenCV gives it buffers."""
_MANUAL_EXPOSURE = 1
"""As V4L2 numbers it."""


class VideoDevice:
    """A video device; a path that is no device is played as a video file or pipe, for trials.

    The driver's time of a frame counts. Without one, a frame may have waited in a buffer while
    several others were read, so that the images of a part come later.
    """

    is_triggered = False

    def __init__(self, settings: UsbCamera) -> None:
        self._settings = settings
        device = settings.device
        self._is_file = isinstance(device, Path) and not device.is_char_device() and device.exists()
        self._target = str(device) if isinstance(device, Path) else device
        self._began_s: deque[float] = deque(maxlen=_MAX_BUFFERED + 2)
        """When each of the latest calls of `grab` began."""
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        """Open the device with the settings. Raises `SourceLost`."""
        import cv2  # noqa: PLC0415 - half a second, and optional

        self._began_s.clear()
        self._capture = _opened(self._target, self._interface(), self._wishes())
        settings = self._settings
        if settings.exposure is not None:
            self._set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE, "manual exposure")
            self._set(cv2.CAP_PROP_EXPOSURE, settings.exposure, "exposure")
        if settings.gain is not None:
            self._set(cv2.CAP_PROP_GAIN, settings.gain, "gain")
        got = [
            int(self._capture.get(side))
            for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        ]
        expected = [settings.width, settings.height]
        if settings.width is not None and got != expected:
            raise SourceLost(f"{self._target} offers {_words(got)} pixels, not {_words(expected)}")

    def check(self) -> None:
        """Do nothing: frames come all the time."""

    def grab(self) -> float:
        """Wait for the driver's next frame. Raises `SourceLost`."""
        import cv2  # noqa: PLC0415

        self._began_s.append(time.monotonic())
        assert self._capture is not None
        if not self._capture.grab():
            raise SourceLost(f"{self._target} sends no images any more")
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1_000
        taken_s = None if self._is_file else driver_time(stamp_s)
        if taken_s is not None:
            return taken_s
        is_full = len(self._began_s) == self._began_s.maxlen
        return self._began_s[0] if is_full else -math.inf

    def retrieve(self) -> Pixels:
        """Decode the latest frame. Raises `SourceLost`."""
        return _pixels(self._capture, str(self._target))

    def close(self) -> None:
        """Close the device."""
        if self._capture is not None:
            self._capture.release()

    def _interface(self) -> int:
        import cv2  # noqa: PLC0415

        if self._is_file:
            return cv2.CAP_FFMPEG
        return cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY

    def _wishes(self) -> dict[int, float]:
        import cv2  # noqa: PLC0415

        if self._is_file:
            return {cv2.CAP_PROP_N_THREADS: 1}
        settings = self._settings
        code = settings.fourcc
        wishes = {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*code) if code else None,
            cv2.CAP_PROP_FRAME_WIDTH: settings.width,
            cv2.CAP_PROP_FRAME_HEIGHT: settings.height,
            cv2.CAP_PROP_FPS: settings.fps,
            cv2.CAP_PROP_BUFFERSIZE: _MAX_BUFFERED,
        }
        return {key: value for key, value in wishes.items() if value is not None}

    def _set(self, key: int, value: float, name: str) -> None:
        assert self._capture is not None
        if not self._capture.set(key, value):
            raise SourceLost(f"{self._target} takes no {name} of {value:g}")


class RtspStream:
    """An RTSP stream; the stream's own time of a frame says how long it waited in buffers."""

    is_triggered = False

    def __init__(self, settings: StreamCamera) -> None:
        self._url = str(settings.url)
        parts = urlsplit(self._url)
        self._shown_url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._lost_after_ms = settings.lost_after_ms
        self._clock = StreamClock()
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        """Connect. Raises `SourceLost`."""
        import cv2  # noqa: PLC0415 - half a second, and optional

        wishes = {
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: _CONNECT_MS,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: self._lost_after_ms,
            cv2.CAP_PROP_N_THREADS: 1,  # several threads of a decoder hold frames back
        }
        self._capture = _opened(self._url, cv2.CAP_FFMPEG, wishes, self._shown_url)
        self._clock.start(time.monotonic())

    def check(self) -> None:
        """Do nothing: frames come all the time."""

    def grab(self) -> float:
        """Receive and decode the next frame. Raises `SourceLost`."""
        import cv2  # noqa: PLC0415

        began_s = time.monotonic()
        assert self._capture is not None
        if not self._capture.grab():
            raise SourceLost(f"{self._shown_url} sends no images any more")
        stream_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1_000
        return min(began_s, self._clock.taken_after(stream_s, time.monotonic()))

    def retrieve(self) -> Pixels:
        """Return the latest frame. Raises `SourceLost`."""
        return _pixels(self._capture, self._shown_url)

    def close(self) -> None:
        """Disconnect."""
        if self._capture is not None:
            self._capture.release()


def _words(size: Sequence[int | None]) -> str:
    return " x ".join(map(str, size))


def _opened(
    target: str | int, interface: int, wishes: dict[int, float], shown: str | int | None = None
) -> "cv2.VideoCapture":
    """Return an open capture. Raises `SourceLost`."""
    import cv2  # noqa: PLC0415

    cv2.utils.logging.setLogLevel(
        cv2.utils.logging.LOG_LEVEL_SILENT
    )  # the station tells in its own log that a camera is away
    flat = [int(number) for pair in wishes.items() for number in pair]
    try:
        capture = cv2.VideoCapture(target, interface, flat)
    except cv2.error as error:
        raise SourceLost(f"{shown or target} cannot be opened: {error}") from error
    if not capture.isOpened():
        capture.release()
        raise SourceLost(f"{target if shown is None else shown} cannot be opened")
    return capture


def _pixels(capture: "cv2.VideoCapture | None", name: str) -> Pixels:
    assert capture is not None
    is_decoded, pixels = capture.retrieve()
    if not is_decoded:
        raise SourceLost(f"an image of {name} cannot be decoded")
    return pixels.astype("uint8", copy=False)
