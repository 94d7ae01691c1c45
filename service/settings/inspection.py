"""Settings of `service.inspection`: limits of images, fail-safe, drift."""

from typing import Literal

from pydantic import Field

from service.settings.environment import available_cores
from service.settings.room import RoomSettings


class InspectionSettings(RoomSettings):
    """Variables named `MAMBAAD_INSPECTION__<FIELD>`."""

    max_image_bytes: int = Field(32 * 2**20, ge=1, description="bytes of one image")
    max_image_pixels: int = Field(50_000_000, ge=1, description="pixels of one image")
    max_image_side: int = Field(65_500, ge=1, description="width or height, in pixels")
    max_image_aspect: int = Field(20_000, ge=1, description="longer side over shorter side")
    max_image_tiles: int = Field(512, ge=1, description="tiles of one image")
    max_decode_ms: int = Field(
        30_000, ge=1, description="time limit to decode one large or slow image"
    )
    decode_processes: int = Field(
        default_factory=lambda: min(4, available_cores()),
        ge=1,
        le=64,
        description="large or slow images decoded at once",
    )
    decode_threads: int = Field(
        default_factory=lambda: min(8, available_cores()),
        ge=1,
        le=256,
        description="small images decoded at once",
    )
    fail_safe: Literal["NG", "REVIEW", "STOP"] = Field(
        "NG", description="how the line should treat an UNDECIDED part"
    )
    drift_window_parts: int = Field(
        500, ge=100, le=100_000, description="latest parts of a category used to compute its drift"
    )
    drift_max_ng_share: float = Field(
        0.5, gt=0, le=1, description="drift alarm above this fraction of parts over the threshold"
    )
