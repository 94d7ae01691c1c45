"""What the station needs of a camera."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class CameraSilent(Exception):
    """No image came in time, or the camera cannot be reached."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An image file, and when the station had it complete."""

    content: bytes
    captured_at: datetime


@dataclass(frozen=True, slots=True)
class Shot:
    """The part whose image is taken, as the PLC names it."""

    trigger_number: int
    part_id: str


class Camera(Protocol):
    """Takes one image a part."""

    async def arm(self, shot: Shot) -> None:
        """Note which images exist before the trigger is acknowledged. Raises `CameraSilent`."""
        ...

    async def take(self) -> Frame:
        """Return an image that was not there when the camera was armed. Raises `CameraSilent`."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
