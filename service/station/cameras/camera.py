"""What the station needs of a camera."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias


class CameraSilent(Exception):
    """No image came in time, or the camera cannot be reached."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An image file, and when it was taken, as exactly as this kind of camera tells.

    A camera that streams: no image that was taken earlier. Others: when the station had the file.
    """

    content: bytes
    captured_at: datetime


@dataclass(frozen=True, slots=True)
class Shot:
    """The part whose image is taken, as the PLC names it."""

    trigger_number: int
    part_id: str


Take: TypeAlias = Callable[[], Awaitable[Frame]]
"""Returns an image that was not there when the camera was armed. Raises `CameraSilent`."""


class Camera(Protocol):
    """Takes one image a part."""

    @property
    def is_up(self) -> bool | None:
        """Whether the camera can be reached, as far as the station knows; None: not known."""
        ...

    async def open(self) -> None:
        """Begin to connect, and return at once; a camera that is away is tried again."""
        ...

    async def arm(self, shot: Shot) -> Take:
        """Note which images exist before the trigger is acknowledged. Raises `CameraSilent`.

        Opens the camera if `open` was not called. The part before gets no image any more: it would
        be that of this part.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
