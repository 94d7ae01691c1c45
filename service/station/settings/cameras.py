"""Settings of the cameras."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AnyUrl, Field, HttpUrl, UrlConstraints, model_validator

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
    poll: bool | None = Field(
        None,
        description="look for files again and again; by default only on network drives, "
        "which do not tell of changes",
    )


class SnapshotCamera(StationRoom):
    """A camera that answers an HTTP request with an image."""

    url: HttpUrl = Field(description="address that returns one image")
    timeout_ms: Milliseconds = Field(500, description="a camera without an image is silent")
    max_bytes: int = Field(64 * 2**20, ge=1, description="largest image")


class EncodedFrames(StationRoom):
    """How pixels become the image file that the service gets and archives."""

    encoding: Literal["png", "jpeg"] = Field(
        "png", description="file that the service gets; `png` loses nothing"
    )
    jpeg_quality: int = Field(95, ge=1, le=100, description="quality of a `jpeg`")


class StreamingFrames(EncodedFrames):
    """A camera that takes images all the time."""

    timeout_ms: Milliseconds = Field(500, description="a camera without an image is silent")
    latency_ms: float = Field(
        50, ge=0, le=60_000, description="how much older an image is than the time known of it"
    )

    @model_validator(mode="after")
    def _check_latency(self) -> Self:
        if self.latency_ms >= self.timeout_ms:
            raise ValueError(
                f"latency_ms must be below timeout_ms, got {self.latency_ms:g} and "
                f"{self.timeout_ms:g}: no image would come in time"
            )
        return self


class UsbCamera(StreamingFrames):
    """A camera that the operating system offers as a video device."""

    device: int | Path = Field(
        description="number of the device, or its path: `/dev/video0`, `/dev/v4l/by-id/...`"
    )
    latency_ms: float = Field(
        50, ge=0, le=60_000, description="how much older an image is than the driver's time of it"
    )
    width: PixelCount | None = Field(None, description="width of the images")
    height: PixelCount | None = Field(None, description="height of the images")
    fps: float | None = Field(None, gt=0, le=10_000, description="images a second")
    fourcc: str | None = Field(
        None, pattern=r"^[ -~]{4}$", description="format on the cable, for example `MJPG` or `YUYV`"
    )
    exposure: float | None = Field(
        None, description="exposure time in the driver's units, which ends the automatic exposure"
    )
    gain: float | None = Field(None, description="gain in the driver's units")

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("expected both width and height, or neither")
        return self


class StreamCamera(StreamingFrames):
    """A network camera that streams all the time; the images of MJPEG stay as they are sent."""

    url: Annotated[AnyUrl, UrlConstraints(allowed_schemes=["rtsp", "rtsps", "http", "https"])] = (
        Field(description="address of the stream: RTSP, or MJPEG over `http://` or `https://`")
    )
    latency_ms: float = Field(
        200,
        ge=0,
        le=60_000,
        description="how much older an image is than its arrival; earlier ones are not used",
    )
    lost_after_ms: Milliseconds = Field(
        5_000, description="a stream that sends nothing is connected anew"
    )


class GenicamCamera(StreamingFrames):
    """A GigE Vision or USB3 Vision camera."""

    id: str = Field(
        min_length=1, description="the camera's id, serial number or address, as Aravis lists it"
    )
    software_trigger: bool | None = Field(
        None, description="by default if the camera has one; `false`: it takes images all the time"
    )
    latency_ms: float = Field(
        50,
        ge=0,
        le=60_000,
        description="without software trigger: how much older an image is than its arrival",
    )
    pixel_format: str | None = Field(
        None,
        description="`Mono8`, `Mono10`, `Mono12`, `Mono16`, `RGB8`, `BGR8`, or Bayer with 8 bits",
    )
    exposure_us: float | None = Field(None, gt=0, description="exposure time in microseconds")
    gain: float | None = Field(None, description="gain in the camera's units")
    frame_rate: float | None = Field(
        None, gt=0, description="images a second, without software trigger"
    )
    features: dict[str, int | float | bool | str] = Field(
        {}, description="other features of the camera, by their GenICam names"
    )


class CameraSettings(StationRoom):
    """One camera: exactly one of `folder`, `snapshot`, `usb`, `stream` and `genicam`."""

    folder: FolderCamera | None = Field(None, description="a watched folder")
    snapshot: SnapshotCamera | None = Field(None, description="an HTTP snapshot")
    usb: UsbCamera | None = Field(None, description="a camera on USB, or a capture device")
    stream: StreamCamera | None = Field(None, description="an RTSP or HTTP stream")
    genicam: GenicamCamera | None = Field(None, description="a GenICam camera, by Aravis")
    size: tuple[PixelCount, PixelCount] | None = Field(
        None,
        description="width and height of an image; another size is an INPUT_PROBLEM. "
        "By default that of the first image",
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
