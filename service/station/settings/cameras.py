"""Settings of the cameras."""

from pathlib import Path
from typing import Annotated, Self, TypeAlias

from pydantic import AnyUrl, Field, HttpUrl, model_validator

from service.station.settings.base import Milliseconds, StationRoom

PixelCount: TypeAlias = Annotated[int, Field(ge=1, le=65_536)]


class FolderCamera(StationRoom):
    """A camera, or its software, that writes files into a folder."""

    path: Path = Field(description="folder that receives the images")
    pattern: str = Field(
        "*",
        description="names of the images; `{trigger_number}` and `{part_id}` stand for the part's",
    )
    timeout_ms: Milliseconds = Field(500, description="a camera without an image is silent")
    stable_ms: Milliseconds = Field(
        50, description="a file counts when it has not changed for this long"
    )
    renamed_into_place: bool = Field(
        False, description="the camera renames complete files into the folder: they count at once"
    )


class SnapshotCamera(StationRoom):
    """A camera that answers an HTTP request with an image."""

    url: HttpUrl = Field(description="address that returns one image")
    timeout_ms: Milliseconds = Field(500, description="a camera without an image is silent")
    max_bytes: int = Field(64 * 2**20, ge=1, description="largest image")


class UsbCamera(StationRoom):
    """A camera that the operating system offers as a video device."""

    device: int | Path = Field(description="number of the device, or its path, `/dev/video0`")
    timeout_ms: Milliseconds = Field(500, description="a camera without an image is silent")


class StreamCamera(StationRoom):
    """A network camera that streams all the time."""

    url: AnyUrl = Field(description="address of the stream: `rtsp://`, `http://` or `https://`")
    timeout_ms: Milliseconds = Field(500, description="a camera without an image is silent")


class GenicamCamera(StationRoom):
    """A GigE Vision or USB3 Vision camera."""

    id: str = Field(description="the camera's id, serial number or address, as Aravis lists it")
    timeout_ms: Milliseconds = Field(500, description="a camera without an image is silent")


class CameraSettings(StationRoom):
    """One camera: exactly one of `folder`, `snapshot`, `usb`, `stream` and `genicam`."""

    folder: FolderCamera | None = Field(None, description="a watched folder")
    snapshot: SnapshotCamera | None = Field(None, description="an HTTP snapshot")
    usb: UsbCamera | None = Field(None, description="a camera on USB, or a capture device")
    stream: StreamCamera | None = Field(None, description="an RTSP or HTTP stream")
    genicam: GenicamCamera | None = Field(None, description="a GenICam camera, by Aravis")
    size: tuple[PixelCount, PixelCount] | None = Field(
        None, description="width and height of an image; another size is an INPUT_PROBLEM"
    )
    black_below: float = Field(
        4.0,
        ge=0,
        le=255,
        description="an image is black if 99.9 % of its pixels are below this; 0: off",
    )
    frozen_check: bool = Field(
        True, description="whether an image equal to the one before is a frozen camera"
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        kinds = (self.folder, self.snapshot, self.usb, self.stream, self.genicam)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("expected exactly one of folder, snapshot, usb, stream and genicam")
        return self
