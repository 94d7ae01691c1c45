"""A camera that answers an HTTP request with one image."""

from datetime import UTC, datetime

import httpx

from service.station.cameras.camera import CameraSilent, Frame, Shot, Take
from service.station.settings import SnapshotCamera


class SnapshotUrl:
    """Asks the camera for an image after each trigger."""

    def __init__(self, name: str, settings: SnapshotCamera) -> None:
        self._name = name
        self._settings = settings
        self._is_up: bool | None = None
        # Proxies of the environment are for the internet, not for a camera beside the machine.
        self._http = httpx.AsyncClient(timeout=settings.timeout_ms / 1_000, trust_env=False)

    @property
    def is_up(self) -> bool | None:
        """Whether the latest request got an image; None before the first."""
        return self._is_up

    async def open(self) -> None:
        """Do nothing: each part's request connects if it has to."""

    async def arm(self, shot: Shot) -> Take:
        """Return at once: the camera takes its image when it is asked."""
        return self._take

    async def _take(self) -> Frame:
        """Return the image of one request. Raises `CameraSilent`."""
        self._is_up = False
        try:
            content = await self._get()
        except httpx.HTTPError as error:
            raise CameraSilent(
                f"camera {self._name}: no image from {self._settings.url}: "
                f"{error or type(error).__name__}"
            ) from error
        self._is_up = True
        return Frame(content, datetime.now(UTC))

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def _get(self) -> bytes:
        pieces = bytearray()
        headers = {"Cache-Control": "no-cache"}
        async with self._http.stream("GET", str(self._settings.url), headers=headers) as answer:
            if answer.status_code != httpx.codes.OK:
                raise CameraSilent(
                    f"camera {self._name}: {self._settings.url} answered {answer.status_code}"
                )
            async for piece in answer.aiter_bytes():
                pieces += piece
                if len(pieces) > self._settings.max_bytes:
                    raise CameraSilent(
                        f"camera {self._name}: an image over {self._settings.max_bytes} bytes"
                    )
        return bytes(pieces)
