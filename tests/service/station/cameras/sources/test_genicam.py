"""A GigE Vision camera: the fake one of Aravis, on loopback."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock

from service.station.cameras.camera import CameraSilent, Shot
from service.station.cameras.checking import ImageChecker
from service.station.cameras.opening import open_camera
from service.station.cameras.sources.genicam import GenicamSource, pixels_of
from service.station.cameras.sources.source import SourceLost
from service.station.machine.verdicts import Reason
from service.station.settings import CameraSettings, GenicamCamera
from tests.service.station.plant import until

FAKE = shutil.which("arv-fake-gv-camera-0.8")


@contextmanager
def fake_camera(name):
    if FAKE is None:
        if os.environ.get("CI"):
            pytest.fail("arv-fake-gv-camera-0.8 is missing: apt-get install aravis-tools")
        pytest.skip("needs arv-fake-gv-camera-0.8: apt-get install aravis-tools")
    # A camera has the port of GigE Vision, of which there is one.
    with FileLock(Path(tempfile.gettempdir()) / "mambaad-gige-vision.lock"):
        process = subprocess.Popen(
            [FAKE, "-i", "127.0.0.1", "-s", name],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield f"Aravis-{name}"
        finally:
            process.kill()
            process.wait()


def settings_of(camera, **settings):
    return CameraSettings.model_validate(
        {"genicam": {"id": camera, "timeout_ms": 2_000, **settings}}
    )


async def shot_in_the_end(camera):
    while True:
        triggered_s, triggered_at = time.monotonic(), datetime.now(UTC)
        with suppress(CameraSilent):
            frame = await (await camera.arm(Shot(1, "")))()
            return frame, triggered_s, triggered_at


@pytest.mark.parametrize("software_trigger", [None, False])
def test_each_image_was_taken_after_its_trigger(software_trigger):
    async def scenario(name):
        settings = settings_of(name, software_trigger=software_trigger)
        camera = open_camera("top", settings)
        checker = ImageChecker(settings)
        await camera.open()
        await until(lambda: camera.is_up, "connection")
        reasons = []
        for _ in range(3):
            frame, _, triggered_at = await shot_in_the_end(camera)
            now = datetime.now(UTC)
            assert triggered_at <= frame.captured_at <= now
            reasons.append(checker.check(frame.content))
        await camera.close()
        return reasons

    with fake_camera("GV01") as name:
        assert asyncio.run(scenario(name)) == [Reason.NONE] * 3


def test_frames_that_waited_in_the_stream_are_known_to_be_old():
    with fake_camera("GV02") as name:
        settings = GenicamCamera(id=name, software_trigger=False)
        with closing(GenicamSource(settings)) as source:
            opened_in_the_end(source)
            source.grab()
            time.sleep(0.5)
            triggered_s = time.monotonic()
            times_s = [source.grab()]
            while times_s[-1] < triggered_s:
                times_s.append(source.grab())
        assert len(times_s) > 2
        assert times_s == sorted(times_s)


def opened_in_the_end(source):
    """Open a camera whose process has just begun."""
    end_s = time.monotonic() + 20
    while True:
        try:
            return source.open()
        except SourceLost:
            if time.monotonic() > end_s:
                raise
            source.close()


def test_a_camera_that_was_unplugged_is_silent_until_it_is_back(caplog):
    async def scenario():
        with fake_camera("GV03") as name:
            camera = open_camera("top", settings_of(name, timeout_ms=300))
            await camera.open()
            await until(lambda: camera.is_up, "connection")
        with pytest.raises(CameraSilent, match="camera top: "):
            await (await camera.arm(Shot(1, "")))()
        await until(lambda: camera.is_up is False, "loss")
        with fake_camera("GV03"):
            frame, _, triggered_at = await shot_in_the_end(camera)
            await camera.close()
        assert triggered_at <= frame.captured_at

    asyncio.run(scenario())
    assert "camera top is back" in caplog.text


def test_settings_reach_the_camera():
    wished = {"pixel_format": "Mono16", "exposure_us": 5_000, "gain": 1.0}
    with fake_camera("GV04") as name:
        settings = GenicamCamera(
            id=name, software_trigger=False, features={"Width": 128, "Height": 64}, **wished
        )
        with closing(GenicamSource(settings)) as source:
            opened_in_the_end(source)
            source.grab()
            assert source.retrieve().shape == (64, 128)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": {"Mistake": 1}}, "Mistake"),
        ({"pixel_format": "Mono12p"}, "Mono12p"),
    ],
)
def test_a_setting_that_the_camera_does_not_have_is_said(settings, message):
    with fake_camera("GV05") as name, closing(GenicamSource(GenicamCamera(id=name))) as source:
        opened_in_the_end(source)
        source.close()
        wrong = GenicamSource(GenicamCamera(id=name, **settings))
        with closing(wrong), pytest.raises(SourceLost, match=message):
            wrong.open()


def test_formats_with_more_bits_and_with_colours_become_eight_bits():
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for kind, bits in ((0x01100003, 10), (0x01100005, 12), (0x01100025, 14), (0x01100007, 16)):
        words = (ramp << (bits - 8)).astype("<u2").tobytes()
        assert np.array_equal(pixels_of(words, 16, 16, kind), ramp)
    assert np.array_equal(pixels_of(ramp.astype(np.uint8).tobytes(), 16, 16, 0x01080001), ramp)
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    assert pixels_of(red.tobytes(), 4, 4, 0x02180014)[0, 0].tolist() == [0, 0, 200]
    assert pixels_of(red.tobytes(), 4, 4, 0x02180015)[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize(
    ("kind", "red_at"),
    [(0x01080008, (0, 1)), (0x01080009, (0, 0)), (0x0108000A, (1, 0)), (0x0108000B, (1, 1))],
    ids=["GR", "RG", "GB", "BG"],
)
def test_a_bayer_mosaic_shows_its_colours(kind, red_at):
    """Light falls on the red pixels alone."""
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[red_at[0] :: 2, red_at[1] :: 2] = 200
    image = pixels_of(mosaic.tobytes(), 8, 8, kind)
    assert image[3:5, 3:5, 2].min() >= 99
    assert image[3:5, 3:5, :2].max() == 0
    assert cv2.imencode(".png", image)[0]


def test_a_format_that_is_not_known_is_said():
    with pytest.raises(ValueError, match="pixel format 0x010C0006 is not known here"):
        pixels_of(b"", 4, 4, 0x010C0006)
