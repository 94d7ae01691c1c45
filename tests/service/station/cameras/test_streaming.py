"""Cameras that send images all the time: the image is one taken after the trigger, or none."""

import asyncio
import os
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime

import numpy as np
import pytest
from pydantic import ValidationError

from service.station.cameras import reading
from service.station.cameras.camera import CameraSilent, Shot
from service.station.cameras.checking import ImageChecker
from service.station.cameras.opening import open_camera
from service.station.machine.verdicts import Reason
from service.station.settings import CameraSettings
from tests.service.station.cameras.numbered import (
    HEIGHT,
    WIDTH,
    MjpegCamera,
    NumberedCamera,
    RtspCamera,
    jpeg,
    number_in,
    pixels,
)
from tests.service.station.plant import until

PATIENT_MS = 20_000


class PipeCamera(NumberedCamera):
    """Plays a video device: a pipe that OpenCV reads as it reads a device."""

    def __init__(self, folder):
        super().__init__(period_s=0.01)
        self.url = folder / "device.y4m"

    @contextmanager
    def listening(self):
        os.mkfifo(self.url)
        self._is_over.clear()
        thread = threading.Thread(target=self._write)
        thread.start()
        try:
            yield self.url
        finally:
            self._is_over.set()
            with suppress(OSError):  # a writer that still waits for its reader goes on
                os.close(os.open(self.url, os.O_RDONLY | os.O_NONBLOCK))
            thread.join()
            self.url.unlink()

    def _write(self):
        try:
            with self.url.open("wb", buffering=0) as pipe:
                pipe.write(b"YUV4MPEG2 W%d H%d F30:1 Ip A1:1 Cmono\n" % (WIDTH, HEIGHT))
                for number in self.frames():
                    pipe.write(b"FRAME\n" + self.image(number).tobytes())
        except BrokenPipeError:
            return


@pytest.fixture(params=["mjpeg", "rtsp", "usb"])
def device(request, tmp_path):
    """A camera of each kind."""
    kinds = {"mjpeg": MjpegCamera, "rtsp": RtspCamera, "usb": lambda: PipeCamera(tmp_path)}
    return kinds[request.param]()


def settings_of(device, url, timeout_ms=PATIENT_MS, checks=None, **settings):
    if isinstance(device, PipeCamera):
        kind = {"usb": {"device": url, "timeout_ms": timeout_ms, "latency_ms": 0, **settings}}
    else:
        stream = {"url": url, "latency_ms": 0, "timeout_ms": timeout_ms, "lost_after_ms": 1_000}
        kind = {"stream": {**stream, **settings}}
    return CameraSettings.model_validate({**kind, **(checks or {})})


async def shot(camera):
    take = await camera.arm(Shot(1, ""))
    return await take()


async def shot_in_the_end(camera):
    """Trigger until an image comes: RTSP looks at its stream for a second."""
    while True:
        triggered_s = time.monotonic()
        with suppress(CameraSilent):
            return triggered_s, await shot(camera)


def taken(device, work, **settings):
    """Run `work` with an open camera while the device sends."""

    async def scenario(url):
        camera = open_camera("top", settings_of(device, url, **settings))
        await camera.open()
        try:
            return await work(camera)
        finally:
            await camera.close()

    with device.listening() as url:
        return asyncio.run(scenario(url))


def test_the_image_was_taken_after_the_trigger_and_its_time_says_so(device):
    async def work(camera):
        for _ in range(3):
            triggered_s, triggered_at = time.monotonic(), datetime.now(UTC)
            frame = await shot(camera)
            assert triggered_s <= device.taken_s[number_in(frame.content)]
            assert triggered_at <= frame.captured_at <= datetime.now(UTC)
            assert camera.is_up is True

    taken(device, work)


@pytest.mark.parametrize(
    "kind", [{"with_length": False}, {"is_chunked": True}, {"login": "line:secret"}]
)
def test_mjpeg_is_read_however_the_camera_writes_it(kind):
    device = MjpegCamera(**kind)

    async def work(camera):
        for _ in range(3):
            triggered_s = time.monotonic()
            content = (await shot(camera)).content
            number = number_in(content)
            assert triggered_s <= device.taken_s[number]
            assert content == jpeg(pixels(number))

    taken(device, work)


@pytest.mark.parametrize(
    ("device", "latency_ms"), [(MjpegCamera(), 320), (RtspCamera(), 0)], ids=["mjpeg", "rtsp"]
)
def test_frames_that_the_network_held_back_are_not_used(device, latency_ms):
    """RTSP has the camera's time; for MJPEG a setting says how late the frames may come."""

    async def work(camera):
        await shot(camera)
        device.delay_s = 0.3
        await asyncio.sleep(0.6)
        triggered_s = time.monotonic()
        return triggered_s, number_in((await shot(camera)).content)

    triggered_s, number = taken(device, work, latency_ms=latency_ms)
    assert triggered_s <= device.taken_s[number]


def test_a_camera_that_sends_nothing_is_silent_and_gives_images_again_later(device):
    async def work(camera):
        await shot_in_the_end(camera)
        device.is_silent = True
        await asyncio.sleep(2 * device.period_s)
        with pytest.raises(CameraSilent, match="camera top: no new image, within 300 ms"):
            await shot(camera)
        device.is_silent = False
        triggered_s, frame = await shot_in_the_end(camera)
        return triggered_s, number_in(frame.content)

    triggered_s, number = taken(device, work, timeout_ms=300, **_patient(device))
    assert triggered_s <= device.taken_s[number]


def _patient(device):
    return {} if isinstance(device, PipeCamera) else {"lost_after_ms": 20_000}


@pytest.mark.parametrize("device", [MjpegCamera(), RtspCamera()], ids=["mjpeg", "rtsp"])
def test_a_camera_that_was_unplugged_is_silent_until_it_is_back(device, caplog):
    with ExitStack() as plugged:
        url = plugged.enter_context(device.listening())

        async def scenario():
            camera = open_camera("top", settings_of(device, url, timeout_ms=300))
            await camera.open()
            await until(lambda: camera.is_up, "connection")
            await asyncio.to_thread(plugged.close)
            await until(lambda: camera.is_up is False, "loss")
            with pytest.raises(CameraSilent, match=r"camera top: .*127\.0\.0\.1.*, within 300 ms"):
                await shot(camera)
            with device.listening(device.port):
                await until(lambda: camera.is_up, "connection")
                triggered_s, frame = await shot_in_the_end(camera)
                await camera.close()
            return triggered_s, number_in(frame.content)

        triggered_s, number = asyncio.run(scenario())
    assert triggered_s <= device.taken_s[number]
    assert "camera top is away" in caplog.text
    assert "camera top is back" in caplog.text


def hanging_threads():
    return sum(thread.name == "camera hanging" for thread in threading.enumerate())


@pytest.fixture
def hanging(tmp_path):
    """A device that never returns from being opened: a pipe to which nobody writes."""
    path = tmp_path / "device.y4m"
    os.mkfifo(path)
    yield path
    while hanging_threads():  # OpenCV opens one after another
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        time.sleep(0.01)


def test_a_driver_that_never_returns_makes_nobody_wait(hanging):
    async def scenario():
        settings = CameraSettings.model_validate({"usb": {"device": hanging, "timeout_ms": 200}})
        camera = open_camera("hanging", settings)
        await camera.open()
        for _ in range(2):
            with pytest.raises(CameraSilent, match="no new image, within 200 ms"):
                await shot(camera)
        assert camera.is_up is None
        await camera.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_threads_whose_driver_hangs_are_replaced_but_not_without_end(hanging, monkeypatch):
    monkeypatch.setattr(reading, "_HANGS_S", 0.05)

    async def scenario():
        settings = CameraSettings.model_validate({"usb": {"device": hanging, "timeout_ms": 100}})
        camera = open_camera("hanging", settings)
        for _ in range(8):
            with pytest.raises(CameraSilent):
                await shot(camera)
        most = hanging_threads()
        await camera.close()
        return most

    assert asyncio.run(scenario()) == 4


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ({"stream": {"url": "ftp://camera/video"}}, "URL scheme should be 'rtsp', 'rtsps', 'http'"),
        ({"stream": {"url": "http://camera/", "latency_ms": 500}}, "no image would come in time"),
        ({"usb": {"device": 0, "width": 640}}, "both width and height, or neither"),
        ({"usb": {"device": 0, "fourcc": "MJPEG"}}, "String should match pattern"),
        ({"usb": {"device": 0}, "genicam": {"id": "GV01"}}, "exactly one of folder"),
    ],
)
def test_settings_that_cannot_work_are_refused(kind, problem):
    with pytest.raises(ValidationError, match=problem):
        CameraSettings.model_validate(kind)


def test_a_part_that_still_waits_gets_no_image_of_the_next(device):
    async def work(camera):
        await shot(camera)
        device.is_silent = True
        earlier = asyncio.ensure_future((await camera.arm(Shot(1, "")))())
        await asyncio.sleep(0)
        later = await camera.arm(Shot(2, ""))
        device.is_silent = False
        with pytest.raises(CameraSilent, match="no image before the next trigger"):
            await earlier
        assert (await later()).content

    taken(device, work)


def test_an_unusable_image_has_its_reason(device):
    checker = ImageChecker(settings_of(device, "rtsp://camera"))
    other_size = ImageChecker(settings_of(device, "rtsp://camera", checks={"size": [640, 480]}))

    async def checked(camera, image):
        device.image = image
        await asyncio.sleep(3 * device.period_s)
        return checker.check((await shot(camera)).content)

    async def work(camera):
        assert other_size.check((await shot(camera)).content) is Reason.IMAGE_SIZE
        usable, frozen = pixels, lambda number: pixels(7)
        dark = lambda number: np.zeros((HEIGHT, WIDTH), np.uint8)  # noqa: E731
        return [await checked(camera, image) for image in (usable, dark, dark, frozen, frozen)]

    assert taken(device, work) == [
        *(Reason.NONE, Reason.IMAGE_BLACK, Reason.IMAGE_BLACK, Reason.NONE, Reason.IMAGE_FROZEN)
    ]


def test_a_camera_that_changes_its_resolution_has_its_reason():
    device = MjpegCamera()

    async def work(camera):
        checker = ImageChecker(settings_of(device, "http://camera"))
        reasons = [checker.check((await shot(camera)).content)]
        device.image = lambda number: pixels(number, width=WIDTH + 8)
        await asyncio.sleep(2 * device.period_s)
        return [*reasons, checker.check((await shot(camera)).content)]

    assert taken(device, work) == [Reason.NONE, Reason.IMAGE_SIZE]


def test_pixels_are_encoded_as_the_settings_say(tmp_path):
    contents = {}
    for encoding in ("png", "jpeg"):
        folder = tmp_path / encoding
        folder.mkdir()
        frame = taken(PipeCamera(folder), shot, encoding=encoding)
        contents[encoding] = frame.content
    assert contents["png"].startswith(b"\x89PNG")
    assert contents["jpeg"].startswith(b"\xff\xd8")
    assert set(np.unique(pixels(number_in(contents["png"])))) == {40, 220}


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_no_message_has_the_password(scheme, caplog):
    with MjpegCamera().listening() as url:
        port = url.rpartition(":")[2].partition("/")[0]

    async def scenario():
        address = f"{scheme}://line:secret@127.0.0.1:{port}/video"
        camera = open_camera("top", settings_of(None, address, timeout_ms=200))
        await camera.open()
        await until(lambda: camera.is_up is False, "refusal")
        with pytest.raises(CameraSilent) as refused:
            await shot(camera)
        await camera.close()
        return str(refused.value)

    message = asyncio.run(scenario())
    assert f"127.0.0.1:{port}" in message
    assert "secret" not in message + caplog.text
