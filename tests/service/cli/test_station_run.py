"""`mambaad station run`: what it prints, where it logs, what it tells systemd, and how it ends."""

import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from service.cli.station_run import AliveLine
from service.station.machine.images import PlcImage
from service.station.machine.verdicts import Outcome, Verdict
from tests.service.live import ROOT, RUN
from tests.service.station.pages.shown import HOSTILE, READY, report_of

FILE = """\
name: EL-3
cameras: {{top: {{folder: {{path: shots}}}}}}
recipes: {{1: {{categories: {{top: bolt}}}}}}
spool: {{folder: spool, min_free_bytes: 0}}
plc: {{modbus: {{port: 0}}}}
server: {{url: "http://127.0.0.1:9"}}
status: {{port: {port}}}
"""
TIMEOUT_S = 60


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def running(folder, port, *options, stdout=subprocess.PIPE, **environment):
    (folder / "station.yaml").write_text(FILE.format(port=port), "utf-8")
    command = [sys.executable, "-c", RUN, "station", "run", "station.yaml", *options]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def stop(process):
    """End a station by SIGTERM; return the rest of its output and its log."""
    process.send_signal(signal.SIGTERM)
    output, log = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, log
    return output, log


def test_the_page_comes_first_and_ends_with_the_station_and_systemd_hears_of_it(tmp_path, port):
    page = f"http://127.0.0.1:{port}/"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        address = tmp_path / "notify"
        systemd.bind(str(address))
        systemd.settimeout(TIMEOUT_S)
        told = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "200000"}
        with running(tmp_path, port, **told) as process:
            assert process.stdout.readline() == f"Status page: {page}\n"
            line = process.stdout.readline()
            assert line.startswith("Station EL-3 on modbus://127.0.0.1:")
            assert "no safety function" in line
            heard = [systemd.recv(100).decode() for _ in range(4)]
            with httpx.stream("GET", f"{page}events", timeout=TIMEOUT_S) as events:
                lines = events.iter_lines()
                assert "EL-3" in httpx.get(page).text
                process.send_signal(signal.SIGTERM)
                assert "event: end" in lines
            output, log = process.communicate(timeout=TIMEOUT_S)
        systemd.setblocking(False)
        while heard[-1] != "STOPPING=1":
            heard.append(systemd.recv(100).decode())
    assert (process.returncode, output, log) == (0, "", "")
    assert heard[:4] == ["READY=1"] + ["WATCHDOG=1"] * 3


def test_a_port_that_is_taken_is_logged_and_stops_no_station(tmp_path, port):
    options = ("--log-level", "INFO", "--log-format", "json")
    with socket.create_server(("127.0.0.1", port)), running(tmp_path, port, *options) as process:
        assert process.stdout.readline().startswith("Station EL-3 on modbus://")
        _, log = stop(process)
    lines = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    (taken,) = [line for line in lines if line["logger"] == "service.running"]
    assert f"no status page: cannot listen on 127.0.0.1:{port}" in taken["message"]


def test_people_at_a_terminal_see_a_line_of_life(tmp_path, port):
    ours, theirs = pty.openpty()
    with running(tmp_path, port, stdout=theirs, COLUMNS="200", LINES="24") as process:
        os.close(theirs)
        output = ""
        while "spool 0" not in output:
            output += os.read(ours, 4096).decode()
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT_S)
        os.close(ours)
    assert re.search(r"\d\d:\d\d:\d\d PREOPERATIONAL \| recipe none \| no result yet", output)


def test_the_line_counts_results_and_no_name_harms_the_terminal():
    line = AliveLine(io.StringIO())
    line.image_changed(replace(READY, recipe=2), PlcImage())
    line.part_told(report_of(1))
    line.part_told(report_of(2, Outcome(Verdict.NG), part_id=f"\x1b[2J\r\n{HOSTILE}"))
    text = line.text(missed=3, waiting=4)
    assert "READY | recipe 2 | 1 OK, 1 NG | 3 missed | spool 4 | ?[2J??" in text
    assert text.isprintable()
