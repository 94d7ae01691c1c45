"""Makes the camera that the settings name."""

from collections.abc import Callable
from importlib.util import find_spec

from service.station.cameras.camera import Camera
from service.station.cameras.folder import WatchedFolder
from service.station.cameras.snapshot import SnapshotUrl
from service.station.cameras.sources.genicam import GenicamSource
from service.station.cameras.sources.mjpeg import MjpegStream
from service.station.cameras.sources.source import FrameSource
from service.station.cameras.sources.video import RtspStream, VideoDevice
from service.station.cameras.streaming import StreamingCamera
from service.station.settings import CameraSettings, StreamCamera


def open_camera(name: str, settings: CameraSettings) -> Camera:
    """Return a camera; nothing is connected before its `open`, or the first part."""
    if settings.folder is not None:
        return WatchedFolder(name, settings.folder)
    if settings.snapshot is not None:
        return SnapshotUrl(name, settings.snapshot)
    if (usb := settings.usb) is not None:
        return StreamingCamera(name, lambda: VideoDevice(usb), usb, usb.timeout_ms, usb.latency_ms)
    if (genicam := settings.genicam) is not None:
        return StreamingCamera(name, lambda: GenicamSource(genicam), genicam, genicam.timeout_ms)
    stream = settings.stream
    assert stream is not None
    return StreamingCamera(
        name, _stream_source(stream), stream, stream.timeout_ms, stream.latency_ms
    )


def missing_library(settings: CameraSettings) -> str | None:
    """Return the name of a library that the camera needs and that is not installed."""
    is_mjpeg = settings.stream is not None and settings.stream.url.scheme.startswith("http")
    needs_pixels = any((settings.usb, settings.stream, settings.genicam)) and not is_mjpeg
    return "opencv" if needs_pixels and find_spec("cv2") is None else None


def _stream_source(settings: StreamCamera) -> Callable[[], FrameSource]:
    if settings.url.scheme.startswith("http"):
        return lambda: MjpegStream(settings)
    return lambda: RtspStream(settings)
