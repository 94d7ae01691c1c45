"""A GigE Vision or USB3 Vision camera, by Aravis."""

import time
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.station.cameras.sources.aravis import Aravis, AravisFailed, AravisMissing, load
from service.station.cameras.sources.source import Pixels, SourceLost
from service.station.settings import GenicamCamera

_CONTINUOUS = 0
_COMPLETE = 0
_FIXED = 0
_NO_PACKET_SOCKET = 1
"""A packet socket needs root, and does not see a camera that answers by another interface."""
_BUFFERS = 4
_WAIT_US = 100_000
_LOST_AFTER_S = 5.0
_DEPTHS = {
    0x01080001: 8, 0x01100003: 10, 0x01100005: 12, 0x01100025: 14, 0x01100007: 16,
}  # fmt: skip
"""Bits of the grey formats, by their code in the Pixel Format Naming Convention."""
_RGB8, _BGR8 = 0x02180014, 0x02180015
_BAYER8 = {
    0x01080008: "COLOR_BayerGRBG2BGR",
    0x01080009: "COLOR_BayerRGGB2BGR",
    0x0108000A: "COLOR_BayerGBRG2BGR",
    0x0108000B: "COLOR_BayerBGGR2BGR",
}
"""OpenCV's conversions of the Bayer formats."""


class GenicamSource:
    """With software trigger the camera is idle between the parts, and each image is one of them."""

    def __init__(self, settings: GenicamCamera) -> None:
        self.is_triggered = bool(settings.software_trigger)
        self._settings = settings
        self._name = settings.id
        self._camera: int | None = None
        self._stream: int | None = None
        self._frame: tuple[bytes, int, int, int] = (b"", 0, 0, 0)

    def open(self) -> None:
        """Connect, set the camera up, and start it. Raises `SourceLost`."""
        try:
            self._aravis = load()
            self._camera = self._call("arv_camera_new", self._name.encode())
            self._set_up()
            size = self._call("arv_camera_get_payload", self._camera)
            self._stream = self._open_stream(size)
            for _ in range(_BUFFERS):
                self._give_back(self._aravis.simple("arv_buffer_new", size, None))
            self._call("arv_camera_start_acquisition", self._camera)
        except AravisMissing as error:
            raise SourceLost(str(error)) from error

    def check(self) -> None:
        """Read a register of the camera. Raises `SourceLost`."""
        self._call("arv_camera_get_payload", self._camera)

    def grab(self) -> float:
        """Wait for a complete frame; trigger it first if the camera is triggered.

        Raises `SourceLost`.
        """
        triggered_s = self._trigger()
        end_s = time.monotonic() + self._patience_s()
        while time.monotonic() < end_s:
            buffer = self._aravis.simple("arv_stream_timeout_pop_buffer", self._stream, _WAIT_US)
            if not buffer:
                continue
            try:
                if self._aravis.simple("arv_buffer_get_status", buffer) == _COMPLETE:
                    self._frame = self._read(buffer)
                    return self._taken(buffer) if triggered_s is None else triggered_s
            finally:
                self._give_back(buffer)
            triggered_s = self._trigger()  # packets were lost
        raise SourceLost(f"camera {self._name} sends no images any more")

    def retrieve(self) -> Pixels:
        """Return the latest frame with 8 bits. Raises `SourceLost` for other formats."""
        content, width, height, kind = self._frame
        try:
            return pixels_of(content, width, height, kind)
        except ValueError as error:
            raise SourceLost(f"camera {self._name}: {error}") from error

    def close(self) -> None:
        """Stop the camera, and give everything back."""
        camera, stream = self._camera, self._stream
        self._camera = self._stream = None
        if camera is None:
            return
        with suppress(AravisFailed):
            self._aravis.call("arv_camera_stop_acquisition", camera)
        if stream:
            self._aravis.release(stream)
        self._aravis.release(camera)

    def _set_up(self) -> None:
        settings, camera = self._settings, self._camera
        self._call("arv_camera_set_acquisition_mode", camera, _CONTINUOUS)
        if settings.pixel_format is not None:
            name = settings.pixel_format.encode()
            self._call("arv_camera_set_pixel_format_from_string", camera, name)
        if settings.exposure_us is not None:
            self._call("arv_camera_set_exposure_time", camera, settings.exposure_us)
        if settings.gain is not None:
            self._call("arv_camera_set_gain", camera, settings.gain)
        for feature, value in settings.features.items():
            self._set_feature(feature.encode(), value)
        has_trigger = self._call("arv_camera_is_software_trigger_supported", camera)
        if settings.software_trigger and not has_trigger:
            raise SourceLost(f"camera {self._name} has no software trigger")
        self.is_triggered = bool(has_trigger) and settings.software_trigger is not False
        if self.is_triggered:
            self._call("arv_camera_set_trigger", camera, b"Software")
            return
        self._call("arv_camera_clear_triggers", camera)
        if settings.frame_rate is not None:
            self._call("arv_camera_set_frame_rate", camera, settings.frame_rate)

    def _open_stream(self, frame_bytes: int) -> int:
        """Return the stream; a network's has room for a few frames in its socket."""
        is_network = self._aravis.simple("arv_camera_is_gv_device", self._camera)
        if is_network:
            self._aravis.simple("arv_camera_gv_set_stream_options", self._camera, _NO_PACKET_SOCKET)
        stream: int = self._call("arv_camera_create_stream", self._camera, None, None)
        if not stream:
            raise SourceLost(f"camera {self._name} gives no stream")
        if is_network:
            self._aravis.set_property(stream, b"socket-buffer", _FIXED)
            self._aravis.set_property(stream, b"socket-buffer-size", _BUFFERS * frame_bytes)
        return stream

    def _set_feature(self, name: bytes, value: bool | float | str) -> None:
        if isinstance(value, bool):
            self._call("arv_camera_set_boolean", self._camera, name, int(value))
        elif isinstance(value, int):
            self._call("arv_camera_set_integer", self._camera, name, value)
        elif isinstance(value, float):
            self._call("arv_camera_set_float", self._camera, name, value)
        else:
            self._call("arv_camera_set_string", self._camera, name, value.encode())

    def _patience_s(self) -> float:
        """Return how long to wait: a triggered image that is late must not pass for the next."""
        return self._settings.timeout_ms / 1_000 if self.is_triggered else _LOST_AFTER_S

    def _trigger(self) -> float | None:
        """Have a triggered camera take an image now; return when. Raises `SourceLost`."""
        if not self.is_triggered:
            return None
        while buffer := self._aravis.simple("arv_stream_try_pop_buffer", self._stream):
            self._give_back(buffer)
        now_s = time.monotonic()
        self._call("arv_camera_software_trigger", self._camera)
        return now_s

    def _read(self, buffer: int) -> tuple[bytes, int, int, int]:
        numbers = (
            self._aravis.simple(f"arv_buffer_get_image_{what}", buffer)
            for what in ("width", "height", "pixel_format")
        )
        width, height, kind = numbers
        return self._aravis.data(buffer), width, height, kind

    def _taken(self, buffer: int) -> float:
        """Return when a frame was taken at the earliest: its first bytes arrived a bit later."""
        stamp_ns: int = self._aravis.simple("arv_buffer_get_system_timestamp", buffer)
        age_s = time.time() - stamp_ns / 1e9 + self._settings.latency_ms / 1_000
        return time.monotonic() - age_s

    def _give_back(self, buffer: int) -> None:
        self._aravis.simple("arv_stream_push_buffer", self._stream, buffer)

    def _call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 - as C has it
        """Call a function. Raises `SourceLost`."""
        aravis: Aravis = self._aravis
        try:
            return aravis.call(name, *arguments)
        except AravisFailed as error:
            raise SourceLost(f"camera {self._name}: {error}") from error


def pixels_of(content: bytes, width: int, height: int, kind: int) -> Pixels:
    """Return a frame with 8 bits a channel. Raises `ValueError` for an unknown pixel format."""
    if kind in _DEPTHS:
        bits = _DEPTHS[kind]
        words = np.frombuffer(content, "u1" if bits == 8 else "<u2", width * height)
        return (words >> (bits - 8)).astype(np.uint8).reshape(height, width)
    if kind in (_RGB8, _BGR8):
        colours: NDArray[np.uint8] = np.frombuffer(content, np.uint8, width * height * 3)
        colours = colours.reshape(height, width, 3)
        return np.ascontiguousarray(colours[..., ::-1]) if kind == _RGB8 else colours
    if kind in _BAYER8:
        import cv2  # noqa: PLC0415 - half a second, and optional

        mosaic = np.frombuffer(content, np.uint8, width * height).reshape(height, width)
        return cv2.cvtColor(mosaic, getattr(cv2, _BAYER8[kind])).astype(np.uint8, copy=False)
    raise ValueError(f"pixel format 0x{kind:08X} is not known here; set `pixel_format`")
