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


CLIENT = """\
plc:
  modbus_client:
    host: 127.0.0.1
    port: {port}
    inputs_at: 40
    outputs_at: 200
    word_order: little
"""


def test_the_symbols_of_a_file_have_its_addresses(mambaad, tmp_path):
    (tmp_path / "station.yaml").write_text(FILE + CLIENT.format(port=502), "utf-8")
    result = mambaad("symbols", "station.yaml")
    assert "ResultsValid,station,BOOL,200,400201,5" in result.stdout
    assert "TriggerNumber,PLC,UDINT,44,400045," in result.stdout


def test_the_symbols_are_a_function_block(mambaad, tmp_path):
    text = mambaad("symbols", "--format", "st").stdout
    assert "FUNCTION_BLOCK FB_MambaadStation" in text
    assert "FromStation: holding registers 100 to 132" in text
    (tmp_path / "station.yaml").write_text(FILE + CLIENT.format(port=502), "utf-8")
    text = mambaad("symbols", "station.yaml", "--format", "st").stdout
    assert "FromStation: holding registers 200 to 232" in text
    assert "the low word first" in text
    (tmp_path / "station.yaml").write_text(FILE + "plc:\n  folder:\n    path: triggers\n", "utf-8")
    result = mambaad("symbols", "station.yaml")
    assert result.exit_code == 2
    assert "there are no registers" in result.stderr


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
    assert (
        "NOT  camera top: the folder shots does not exist: make it (mkdir -p shots)"
        in result.stdout
    )
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
        (tmp_path / "station.yaml").write_text(
            text + "plc:\n  modbus:\n    port: 0\nstatus:\n  port: 0\n", "utf-8"
        )
        with subprocess.Popen(
            [sys.executable, "-c", RUN, "station", "run"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                assert any("Station EL-3 on" in line for line in process.stdout)
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
        (["--script", "gone.txt"], "gone.txt cannot be read"),
        (["--script", "wrong.txt"], "wrong.txt, line 2: 'sett' is no step"),
        (["--script", "wrong.txt", "--by-hand"], "--script and --by-hand exclude each other"),
    ],
)
def test_a_simulation_that_cannot_work_is_refused(mambaad, tmp_path, options, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.txt").write_text("# first\nsett Trigger\n", "utf-8")
    result = mambaad("simulate-plc", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_api_key_that_cannot_be_read_is_said(mambaad, tmp_path):
    text = FILE.replace("url: http://127.0.0.1:9", "api_key_file: gone.key")
    (tmp_path / "station.yaml").write_text(text, "utf-8")
    result = mambaad("check")
    assert result.exit_code == 2
    assert "the API key in gone.key cannot be read" in result.stderr


def test_a_simulated_plc_that_is_the_server_needs_a_free_port(mambaad, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        text = FILE + CLIENT.format(port=listener.getsockname()[1])
        (tmp_path / "station.yaml").write_text(text, "utf-8")
        result = mambaad("simulate-plc")
    assert result.exit_code == 2
    assert "the simulated PLC cannot listen on 127.0.0.1" in result.stderr


def test_a_script_whose_step_fails_ends_with_1_and_names_the_line(mambaad, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (tmp_path / "station.yaml").write_text(FILE + CLIENT.format(port=port), "utf-8")
    script = tmp_path / "script.txt"
    script.write_text("set TriggerEnable\nwait Ready within 50ms\n", "utf-8")
    result = mambaad("simulate-plc", "--script", "script.txt")
    assert result.exit_code == 1
    assert "FAILED: script.txt, line 2: wait Ready within 50ms: not within" in result.stderr
    script.write_text("set TriggerEnable\npause 10ms\nexpect not Ready\n", "utf-8")
    result = mambaad("simulate-plc", "--script", "script.txt")
    assert result.exit_code == 0
    assert "all 3 steps of script.txt passed" in result.stdout


def test_the_check_says_that_the_plc_does_not_answer(mambaad, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (tmp_path / "station.yaml").write_text(FILE + CLIENT.format(port=port), "utf-8")
    result = mambaad("check")
    assert f"NOT  PLC modbus://127.0.0.1:{port}: no connection" in result.stdout
