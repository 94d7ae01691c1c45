"""`mambaad station`: what it prints, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from service.cli.main import build_commands
from tests.service.live import ROOT, RUN
from tests.service.station.cameras.numbered import MjpegCamera, jpeg, number_in, pixels

FILE = """\
name: EL-3
server:
  url: http://127.0.0.1:9
cameras:
  top:
    folder:
      path: shots
      timeout_ms: 10
recipes:
  1:
    categories:
      top: bolt
"""


@pytest.fixture
def mambaad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "station.yaml").write_text(FILE, "utf-8")

    def run(*words):
        return CliRunner().invoke(build_commands(), ["station", *words])

    return run


def test_the_symbols_are_csv(mambaad):
    result = mambaad("symbols")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("name,written_by,type,address_from_0,address_from_1,bit")
    assert "ResultsValid,station,BOOL,100,400101,5" in result.stdout


@pytest.mark.parametrize("command", ["run", "check", "simulate-plc"])
def test_an_error_in_the_file_is_said_with_its_line(mambaad, tmp_path, command):
    (tmp_path / "station.yaml").write_text(FILE + "colour: red\n", "utf-8")
    result = mambaad(command, "station.yaml")
    assert result.exit_code == 2
    assert "station.yaml, line 13: colour: Extra inputs are not permitted" in result.stderr


def test_the_check_ends_with_2_if_the_service_is_away(mambaad):
    result = mambaad("check")
    assert result.exit_code == 2
    assert "NOT  service http://127.0.0.1:9/: no connection" in result.stdout
    assert "NOT  camera top: camera top: the folder shots cannot be read" in result.stdout
    assert "ok   spool station-spool" in result.stdout


def test_the_check_shows_each_cameras_image_and_saves_it(mambaad, tmp_path):
    device = MjpegCamera()
    with device.listening() as url:
        stream = f"    stream:\n      url: {url}\n      latency_ms: 0\n"
        (tmp_path / "station.yaml").write_text(
            FILE.replace("    folder:\n      path: shots\n      timeout_ms: 10\n", stream), "utf-8"
        )
        result = mambaad("check", "--save", "images")
    assert "NOT  service" in result.stdout
    shown = r"ok   camera top: 256 x 32 pixels, brightness \d+ of 255, JPEG, \d+ bytes, in \d+ ms\n"
    assert re.search(shown, result.stdout)
    saved = (tmp_path / "images" / "top.jpeg").read_bytes()
    assert saved == jpeg(pixels(number_in(saved)))


def test_a_camera_without_its_library_is_refused(mambaad, tmp_path, monkeypatch):
    usb = "    usb:\n      device: 0\n"
    (tmp_path / "station.yaml").write_text(
        FILE.replace("    folder:\n      path: shots\n      timeout_ms: 10\n", usb), "utf-8"
    )
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = mambaad("run")
    assert result.exit_code == 2
    assert "camera top: opencv is not installed: pip install 'mambaad-service[" in result.stderr


def test_a_station_ends_although_a_cameras_driver_does_not_return(tmp_path):
    """Nobody answers the request that OpenCV sends, for which it waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        url = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live"
        text = FILE.replace("    folder:\n      path: shots\n", f"    stream:\n      url: {url}\n")
        text = text.replace("timeout_ms: 10", "timeout_ms: 1000")
        (tmp_path / "station.yaml").write_text(text + "plc:\n  modbus:\n    port: 0\n", "utf-8")
        with subprocess.Popen(
            [sys.executable, "-c", RUN, "station", "run"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                assert "Station EL-3 on" in process.stdout.readline()
                connection, _ = listener.accept()
                process.send_signal(signal.SIGTERM)
                _, errors = process.communicate(timeout=60)
                connection.close()
            finally:
                process.kill()
    assert (process.returncode, errors) == (0, "")


def test_a_port_that_is_taken_ends_the_station(mambaad, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (tmp_path / "station.yaml").write_text(
            FILE + f"plc:\n  modbus:\n    port: {port}\n", "utf-8"
        )
        result = mambaad("run")
    assert result.exit_code == 2
    assert f"cannot listen on 127.0.0.1:{port} for Modbus" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "3"], "recipe 3 is not in the file; there are [1]"),
        (["--images", "gone"], "No such file or directory"),
        (["--images", "empty"], "empty has no images"),
    ],
)
def test_a_simulation_that_cannot_work_is_refused(mambaad, tmp_path, options, message):
    (tmp_path / "empty").mkdir()
    result = mambaad("simulate-plc", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_api_key_that_cannot_be_read_is_said(mambaad, tmp_path):
    text = FILE.replace("url: http://127.0.0.1:9", "api_key_file: gone.key")
    (tmp_path / "station.yaml").write_text(text, "utf-8")
    result = mambaad("check")
    assert result.exit_code == 2
    assert "the API key in gone.key cannot be read" in result.stderr
