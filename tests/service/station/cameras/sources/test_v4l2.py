"""A video device as OpenCV's V4L2 reads it; a library before libc answers instead of the kernel."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.service.live import ROOT

PERIOD_S = 0.02
COMPILER = shutil.which("cc")


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    """The fake device, compiled."""
    if COMPILER is None or sys.platform != "linux":
        if os.environ.get("CI"):
            pytest.fail("cc is missing: apt-get install gcc libc6-dev")
        pytest.skip("needs a C compiler and Linux: apt-get install gcc libc6-dev")
    library = tmp_path_factory.mktemp("v4l2") / "fake.so"
    source = Path(__file__).with_name("fake_v4l2.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class Device:
    """The fake device for one run; `shots` are the lines that the run printed."""

    def __init__(self, library, work, clock="monotonic"):
        self.start_s = time.monotonic()
        environment = {
            "LD_PRELOAD": str(library),
            "FAKE_V4L2_CLOCK": clock,
            "FAKE_V4L2_START_US": str(int(self.start_s * 1e6)),
            "FAKE_V4L2_PERIOD_US": str(int(PERIOD_S * 1e6)),
            "FAKE_V4L2_UNPLUGGED": str(library.with_name("unplugged")),
        }
        result = subprocess.run(
            [sys.executable, "-m", "tests.service.station.cameras.sources.v4l2_shots", work],
            env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        self.shots = [json.loads(line) for line in result.stdout.splitlines()]

    def taken_s(self, number):
        return self.start_s + number * PERIOD_S


@pytest.mark.parametrize("clock", ["monotonic", "none"])
def test_frames_that_waited_in_the_drivers_buffers_are_not_used(fake, clock):
    device = Device(fake, "buffered", clock)
    (shot,) = device.shots
    assert shot["skipped"] >= 4
    assert shot["triggered_s"] <= device.taken_s(shot["number"])
    if clock == "monotonic":  # the claim is the driver's time, to the microsecond
        assert abs(shot["claimed_s"] - device.taken_s(shot["number"])) < 1e-5
    else:
        assert shot["claimed_s"] <= device.taken_s(shot["number"])


def test_each_image_was_taken_after_its_trigger_and_a_device_comes_back(fake):
    device = Device(fake, "taken")
    *before, silent, after = device.shots
    assert len(before) == 3
    for shot in (*before, after):
        assert shot["triggered_s"] <= device.taken_s(shot["number"])
        assert shot["triggered_s"] <= shot["claimed_s"]
    assert silent["silent"].startswith("camera top: /dev/video63 ")
