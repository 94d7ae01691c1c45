"""Takes images of a video device and prints them as JSON: test_v4l2 runs it with a fake device.

Each line has the frame's number, the time of the trigger and the time that the station claims.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from service.station.cameras.camera import CameraSilent, Shot
from service.station.cameras.opening import open_camera
from service.station.cameras.sources.video import VideoDevice
from service.station.settings import CameraSettings, UsbCamera
from tests.service.station.cameras.numbered import HEIGHT, WIDTH, jpeg, number_in
from tests.service.station.plant import until

DEVICE = Path("/dev/video63")
USB = {"device": DEVICE, "latency_ms": 0, "width": WIDTH, "height": HEIGHT, "exposure": 250}


def say(**fields):
    print(json.dumps(fields), flush=True)


async def taken(unplugged):
    """Take images before the device is unplugged, while it is, and after it."""
    settings = {"usb": {**USB, "timeout_ms": 1_000}}
    camera = open_camera("top", CameraSettings.model_validate(settings))
    await camera.open()
    await until(lambda: camera.is_up, "connection")
    for _ in range(3):
        await shot(camera)
    unplugged.touch()
    await until(lambda: camera.is_up is False, "loss")
    await shot(camera)
    unplugged.unlink()
    await until(lambda: camera.is_up, "connection")
    await shot(camera)
    await camera.close()


async def shot(camera):
    triggered_s, triggered_at = time.monotonic(), datetime.now(UTC)
    try:
        frame = await (await camera.arm(Shot(1, "")))()
    except CameraSilent as error:
        say(silent=str(error))
        return
    after_s = (frame.captured_at - triggered_at).total_seconds()
    say(number=number_in(frame.content), triggered_s=triggered_s, claimed_s=triggered_s + after_s)


def buffered():
    """Let frames wait in the driver's buffers, then take the first that counts."""
    with closing(VideoDevice(UsbCamera(**USB))) as source:
        source.open()
        for _ in range(10):
            source.grab()
        time.sleep(0.5)
        triggered_s = time.monotonic()
        skipped = 0
        while (claimed_s := source.grab()) < triggered_s:
            skipped += 1
        number = number_in(jpeg(source.retrieve()))
    say(number=number, triggered_s=triggered_s, claimed_s=claimed_s, skipped=skipped)


if __name__ == "__main__":
    if sys.argv[1] == "buffered":
        buffered()
    else:
        asyncio.run(taken(Path(os.environ["FAKE_V4L2_UNPLUGGED"])))
