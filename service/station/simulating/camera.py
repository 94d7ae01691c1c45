"""The simulated camera: writes images into the folder that a station's camera watches."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from service.station.settings import FolderCamera

Expose: TypeAlias = Callable[[int], Awaitable[None]]
"""Takes the image of the part with this trigger number; called when the trigger is acknowledged."""


class SimulatedCamera:
    """Copies images, one after another, into the folder that a station's camera watches."""

    def __init__(self, images: Path, camera: FolderCamera) -> None:
        self._images = pictures_in(images)
        self._camera = camera
        if not self._images:
            raise ValueError(f"{images} has no images")
        camera.path.mkdir(parents=True, exist_ok=True)

    async def expose(self, number: int) -> None:
        """Take the next image, for the part with this trigger number."""
        await asyncio.to_thread(self._expose, number)

    def _expose(self, number: int) -> None:
        source = self._images[(number - 1) % len(self._images)]
        folder = self._camera.path
        half = folder / f".{number}{source.suffix}"
        half.write_bytes(source.read_bytes())
        half.replace(folder / f"{number}{source.suffix}")


async def no_camera(number: int) -> None:
    """Take no image: the station's camera takes it by itself."""


def pictures_in(folder: Path) -> list[Path]:
    """Return the files of a folder by name, without hidden ones. Raises `OSError`."""
    return sorted(
        path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
    )
