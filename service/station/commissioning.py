"""Connects to everything that a station needs, and says what it found; changes nothing.

for finding in await check_station(settings, client):
    print(finding.is_sound, finding.what, finding.value)
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus

from model.errors import ImageError
from service.client import AsyncClient, InspectionError, NotAllowed
from service.station.cameras.camera import Camera, CameraSilent, Frame, Shot
from service.station.cameras.checking import ImageChecker, Picture
from service.station.cameras.streaming import StreamingCamera
from service.station.inspecting import Inspector
from service.station.machine.verdicts import Reason
from service.station.plc.door import DoorClosed
from service.station.plc.opening import open_door
from service.station.settings import StationSettings

_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """The image file that a camera gave; `suffix` is that of its format."""

    camera: str
    content: bytes = field(repr=False)
    suffix: str = ".bin"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried, and how it went; `image` is a camera's."""

    what: str
    value: str
    is_sound: bool = True
    image: CheckedImage | None = None


async def check_station(settings: StationSettings, client: AsyncClient) -> list[Check]:
    """Check the service, the categories, the spool, the PLC's door and the cameras, in this order.

    The categories inspect a test image; a folder camera is sound if an image arrives in time.
    """
    inspector = Inspector(settings, client)
    try:
        checks = [await _service(client)]
        checks += [check async for check in _categories(settings, inspector)]
        checks += [_spool(settings), await _door(settings, client)]
        cameras = (_camera(settings, inspector, name) for name in settings.cameras)
        return [*checks, *await asyncio.gather(*cameras)]
    finally:
        await inspector.close()


async def _service(client: AsyncClient) -> Check:
    what = f"service {client.url}"
    try:
        readiness = await client.ready()
    except InspectionError as error:
        return Check(what, _with_advice(error), is_sound=False)
    return Check(
        what, "ready" if readiness.ready else "; ".join(readiness.reasons), readiness.ready
    )


async def _categories(settings: StationSettings, inspector: Inspector) -> AsyncIterator[Check]:
    for number, recipe in settings.recipes.items():
        for category in dict.fromkeys(recipe.categories.values()):
            what = f"recipe {number}, category {category}"
            try:
                result = await inspector.test(category)
            except InspectionError as error:
                yield Check(what, _with_advice(error), is_sound=False)
                continue
            if result.archived:
                yield Check(what, f"a test image was inspected and archived: {result.decision}")
            else:
                lost = "the service archives nothing, so parts would stay in the spool"
                yield Check(what, lost, is_sound=False)


def _with_advice(error: InspectionError) -> str:
    """Return an error, with what to do about an API key that the service refuses."""
    if not isinstance(error, NotAllowed):
        return str(error)
    if error.status == HTTPStatus.UNAUTHORIZED:
        return f"{error}; give the key in MAMBAAD_API_KEY, or name its file in server.api_key_file"
    return f"{error}; the key needs the scope `detect`"


def _spool(settings: StationSettings) -> Check:
    folder = settings.spool.folder
    what = f"spool {folder}"
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK) or not existing.is_dir():
        return Check(what, f"{existing} is not a folder that can be written", is_sound=False)
    free_bytes = shutil.disk_usage(existing).free
    is_sound = free_bytes >= settings.spool.min_free_bytes
    return Check(what, f"{free_bytes // 2**20} MiB free", is_sound)


async def _door(settings: StationSettings, client: AsyncClient) -> Check:
    what = "PLC"
    try:
        door = open_door(settings.plc, lambda image: None, settings, client)
        what = f"PLC {door.address}"
        value = await door.check()
        if settings.plc.opcua is not None and (missing := await _reads(client)):
            return Check(what, f"{value}; {missing}", is_sound=False)
        return Check(what, value)
    except DoorClosed as error:
        return Check(what, str(error), is_sound=False)


async def _reads(client: AsyncClient) -> str:
    """Return what is wrong if the service does not show a caller its archive, else nothing."""
    try:
        await anext(aiter(client.inspections(page_size=1)), None)
    except NotAllowed as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return "the SHA-256 of models stays unknown: the API key needs the scope `read` as well"
    except InspectionError:
        pass  # the check of the service names it
    return ""


async def _camera(settings: StationSettings, inspector: Inspector, name: str) -> Check:
    what = f"camera {name}"
    folder = settings.cameras[name].folder
    if folder is not None and not folder.path.exists():
        advice = f"the folder {folder.path} does not exist: make it (mkdir -p {folder.path})"
        return Check(what, advice, is_sound=False)
    try:
        frame, took_ms = await _first_frame(inspector.cameras[name])
    except CameraSilent as error:
        silent = str(error).removeprefix(f"{what}: ")
        if folder is not None:
            name = folder.pattern.replace("{trigger_number}", "0").replace("{part_id}", "")
            silent += f"; while the check runs, an image must come whose name is {name}"
        return Check(what, silent, is_sound=False)
    content = frame.content
    reason = await asyncio.to_thread(ImageChecker(settings.cameras[name]).check, content)
    try:
        picture = await asyncio.to_thread(Picture.of, content)
    except ImageError as error:
        image = CheckedImage(name, content)
        return Check(what, f"a file of {len(content)} bytes: {error}", is_sound=False, image=image)
    value = (
        f"{picture.width} x {picture.height} pixels, brightness {picture.brightness:.0f} of 255, "
        f"{picture.format}, {len(content)} bytes, in {took_ms:.0f} ms"
    )
    if reason is not Reason.NONE:
        value += f": {reason.name}"
    image = CheckedImage(name, content, f".{picture.format.lower()}")
    return Check(what, value, reason is Reason.NONE, image)


async def _first_frame(camera: Camera) -> tuple[Frame, float]:
    """Return an image and its milliseconds; a camera that streams may take a while to connect.

    Raises `CameraSilent`.
    """
    loop = asyncio.get_running_loop()
    end_s = loop.time() + (_CONNECT_S if isinstance(camera, StreamingCamera) else 0)
    while True:
        began_s = loop.time()
        take = await camera.arm(Shot(0, ""))
        try:
            frame = await take()
        except CameraSilent:
            if loop.time() >= end_s:
                raise
            continue
        return frame, (loop.time() - began_s) * 1_000
