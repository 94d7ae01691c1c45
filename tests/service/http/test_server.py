"""Connections fit the process's limit of open files, unless a setting gives their number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.http import server
from service.settings import HttpSettings

ROOT = Path(__file__).parents[3]
CHILD = """
import json, logging, resource, sys
from service.http.server import CannotListen, fit_open_files
from service.settings import Settings
logging.basicConfig(format="%(message)s")
try:
    connections = fit_open_files(Settings().http).max_connections
except CannotListen as error:
    sys.exit(f"refused: {error}")
print(json.dumps([connections, *resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


def limited(soft: int, hard: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """Fit the settings in a new process with this limit of open files."""
    limits = f"ulimit -S -n {soft} && ulimit -H -n {hard}"
    return subprocess.run(
        ["sh", "-c", f'{limits} && exec "$@"', "sh", sys.executable, "-c", CHILD],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_limit_is_raised_where_the_system_lets_us():
    answer = limited(256, 4096)
    assert json.loads(answer.stdout) == [1024, 1280, 4096]
    assert not answer.stderr


@pytest.mark.parametrize("others", [{}, {"MAMBAAD_HTTP__PORT": "9000", "MAMBAAD_HOST": "::1"}])
def test_too_few_open_files_lower_the_default_and_the_log_says_so(others):
    answer = limited(512, 1024, **others)
    assert json.loads(answer.stdout) == [768, 1024, 1024]
    (line,) = answer.stderr.splitlines()
    assert "at most 768 connections, not 1024" in line
    assert "1024 open files" in line


BY_HAND = pytest.mark.parametrize(
    "name", ["MAMBAAD_HTTP__MAX_CONNECTIONS", "MAMBAAD_MAX_CONNECTIONS"]
)


@BY_HAND
def test_a_number_set_by_hand_is_refused_where_it_does_not_fit(name):
    answer = limited(1024, 1024, **{name: "1024"})
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith(
        "refused: MAMBAAD_HTTP__MAX_CONNECTIONS is 1024, which needs 1280 open files"
    )
    assert line.endswith("or set MAMBAAD_HTTP__MAX_CONNECTIONS to 768")


@BY_HAND
def test_a_number_set_by_hand_is_taken_where_it_fits(name):
    answer = limited(512, 1024, **{name: "700"})
    assert json.loads(answer.stdout) == [700, 956, 1024]
    assert not answer.stderr


def test_with_hardly_any_open_files_nothing_is_served():
    answer = limited(200, 200)
    assert answer.returncode == 1
    assert "needs 1280 open files, but this process may have 200" in answer.stderr


def test_without_the_module_there_is_no_limit_to_ask(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "resource", None)
    assert server.fit_open_files(HttpSettings()).max_connections == 1024
