"""The command line: options become settings, refusals are clear, the server reports readiness."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from typer.testing import CliRunner

from model.checkpoints.store import Store
from service.cli import main as cli
from service.cli.greeting import Url, curl_command, find_sample, say_ready
from service.settings import (
    HttpSettings,
    Settings,
    TelemetrySettings,
    VersionSettings,
    WorkerSettings,
)
from service.versions.registry import Registry
from tests.programs import program

ROOT = Path(__file__).parents[3]
RUN = "from service.cli.main import main; main()"
FEW_FILES = 'ulimit -n 1024 && exec "$@"'  # the limit on most systems


@pytest.fixture
def invoke(monkeypatch):
    """Run the command line up to the server; return (result, settings, samples)."""
    served = []
    monkeypatch.setattr(cli, "run_server", served.append)

    def run(*arguments: str):
        result = CliRunner().invoke(cli.build_commands(), ["serve", *arguments])
        return result, *((served[0], served[0].samples_dir) if served else (None, None))

    return run


def test_options_become_settings(invoke):
    where = "--host 0.0.0.0 --port 9000 --weights w --state s --device cuda:0 --device cuda:1"
    options = f"{where} --workers 2 --threads 3 --max-batch-size 8 --log-level debug"
    result, settings, _ = invoke(*options.split())
    assert result.exit_code == 0, result.output
    assert settings == Settings(
        http=HttpSettings(host="0.0.0.0", port=9000),
        versions=VersionSettings(weights_dir=Path("w"), state_dir=Path("s")),
        workers=WorkerSettings(
            devices=("cuda:0", "cuda:1"),
            workers_per_device=2,
            threads_per_worker=3,
            max_batch_size=8,
            spare="off",  # by the tests' environment
        ),
        telemetry=TelemetrySettings(log_level="DEBUG"),
    )


def test_what_is_not_given_comes_from_the_environment(invoke, monkeypatch):
    monkeypatch.setenv("MAMBAAD_PORT", "9001")
    monkeypatch.setenv("MAMBAAD_MAX_QUEUE_SIZE", "3")
    _, settings, _ = invoke("--port", "9002")
    assert (settings.http.port, settings.workers.max_queue_size) == (9002, 3)


def test_samples_lie_beside_the_weights(invoke, tmp_path):
    assert invoke("--weights", str(tmp_path / "weights"))[2] == tmp_path / "samples"


def test_samples_can_be_named(invoke, tmp_path):
    assert invoke("--samples", str(tmp_path))[2] == tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "70000"], "port"),
        (["--device", "gpu"], '"cpu" or "cuda:N"'),
        (["--log-level", "loud"], "log_level"),
    ],
)
def test_a_bad_setting_is_refused_in_a_line(invoke, options, message):
    result, settings, _ = invoke(*options)
    assert result.exit_code == 2
    assert settings is None
    (line,) = result.output.strip().splitlines()
    assert line.startswith("mambaad serve: ")
    assert message in line


def test_a_misspelt_variable_is_noticed(invoke, monkeypatch):
    monkeypatch.setenv("MAMBAAD_MAX_BATCHSIZE", "8")
    monkeypatch.setenv("MAMBAAD_WORKERS__MAX_QUEUESIZE", "8")
    monkeypatch.setenv("mambaad_zzz", "8")
    result, settings, _ = invoke()
    assert (result.exit_code, settings) == (2, None)
    assert result.output.splitlines() == [
        "mambaad serve: MAMBAAD_MAX_BATCHSIZE is not a setting; did you mean "
        "MAMBAAD_MAX_BATCH_SIZE?",
        "mambaad serve: MAMBAAD_WORKERS__MAX_QUEUESIZE is not a setting; did you mean "
        "MAMBAAD_WORKERS__MAX_QUEUE_SIZE?",
        "mambaad serve: MAMBAAD_ZZZ is not a setting",
    ]


def test_a_setting_of_two_values_by_its_two_names_is_refused(invoke, monkeypatch):
    monkeypatch.setenv("MAMBAAD_MAX_QUEUE_SIZE", "3")
    monkeypatch.setenv("MAMBAAD_WORKERS__MAX_QUEUE_SIZE", "4")
    result, settings, _ = invoke()
    assert (result.exit_code, settings) == (2, None)
    assert result.output.splitlines() == [
        "mambaad serve: MAMBAAD_WORKERS__MAX_QUEUE_SIZE is '4', but MAMBAAD_MAX_QUEUE_SIZE, its "
        "older name, is '3': set only one of them"
    ]


@pytest.mark.parametrize("text", ["9000", "{", '{"port": 9000}'])
def test_a_room_in_one_variable_is_refused(invoke, monkeypatch, text):
    monkeypatch.setenv("MAMBAAD_HTTP", text)
    result, settings, _ = invoke()
    assert (result.exit_code, settings) == (2, None)
    assert result.output.startswith("mambaad serve: MAMBAAD_HTTP is not a setting")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MAMBAAD_HTTP__HOST": "0.0.0.0"}, "no API keys"),
        ({"MAMBAAD_ACCESS__METRICS_REQUIRE_KEY": "1"}, "API_KEYS_FILE"),
        ({"MAMBAAD_INSPECTION__MAX_IMAGE_BYTES": "999999999"}, "MAX_REQUEST_BYTES"),
        ({"MAMBAAD_HTTP__MAX_INFLIGHT_BYTES": "1"}, "MAX_INFLIGHT_BYTES"),
        ({"MAMBAAD_HOST": "0.0.0.0"}, "no API keys"),
        ({"MAMBAAD_HOST": ""}, "no API keys"),
        ({"MAMBAAD_METRICS_REQUIRE_KEY": "1"}, "API_KEYS_FILE"),
        ({"MAMBAAD_MAX_IMAGE_BYTES": "999999999"}, "MAX_REQUEST_BYTES"),
        ({"MAMBAAD_MAX_INFLIGHT_BYTES": "1"}, "MAX_INFLIGHT_BYTES"),
        ({"MAMBAAD_API_KEYS_FILE": "nowhere/keys.json"}, "nowhere/keys.json cannot be read"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    weights, monkeypatch, environment, message
):
    monkeypatch.setattr("service.telemetry.logs.configure_logging", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(cli.build_commands(), ["serve", "--weights", str(weights)])
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert line.startswith("mambaad serve: ")
    assert message in line


def test_a_store_without_checkpoints_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("service.telemetry.logs.configure_logging", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    result = CliRunner().invoke(cli.build_commands(), ["serve", "--weights", str(tmp_path)])
    assert result.exit_code == 2
    assert "no checkpoint in" in result.output


def test_a_damaged_state_is_refused_in_a_line(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("service.telemetry.logs.configure_logging", lambda *_: None)
    (tmp_path / "deployment.json").write_text("{")
    options = ["serve", "--weights", str(weights)]
    monkeypatch.setenv("MAMBAAD_STATE_DIR", str(tmp_path))
    result = CliRunner().invoke(cli.build_commands(), options)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if "deployment.json" in line]
    assert line.startswith("mambaad serve: ")
    assert "is damaged" in line


def test_the_offline_commands_are_there_too():
    result = CliRunner().invoke(cli.build_commands(), ["--help"])
    assert {"serve", "train", "predict"} <= set(re.findall(r"\w+", result.output))


def test_serving_needs_nothing_that_only_training_does(monkeypatch):
    monkeypatch.setattr("builtins.__import__", missing("sklearn", __import__))
    result = CliRunner().invoke(cli.build_commands(), ["--help"])
    assert result.exit_code == 0
    assert "serve" in result.output


def missing(package, real):
    def importing(name, *arguments, **options):
        if name == "model.cli":
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *arguments, **options)

    return importing


def test_a_package_of_ours_that_is_missing_is_a_mistake(monkeypatch):
    monkeypatch.setattr("builtins.__import__", missing("model.nothing", __import__))
    with pytest.raises(ModuleNotFoundError):
        cli.build_commands()


def test_the_first_sample_of_the_first_category_is_shown(tmp_path):
    for name in ("nut/b.png", "nut/a.jpg", "nut/README.md", "empty/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    sample = find_sample(tmp_path, ["bolt", "empty", "nut"])
    assert sample == ("nut", tmp_path / "nut" / "a.jpg")
    assert find_sample(tmp_path, ["bolt"]) is None


def test_the_command_to_paste_survives_the_shell():
    image = Path("my samples/it's.png")
    words = shlex.split(curl_command("http://x:1", "bolt", image))
    assert words == [
        "curl", "-F", "category=bolt", "-F", f"file=@{image}", "http://x:1/detect",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("line-7", "line-7")],
)
def test_the_address_that_is_shown_can_be_reached(host, reached):
    assert Url(HttpSettings(host=host)).host == reached


def test_serve_prints_a_command_that_works_and_leaves_when_told(weights, image, tmp_path):
    program("curl")
    sample = tmp_path / "samples" / "bolt" / "one.png"
    sample.parent.mkdir(parents=True)
    sample.write_bytes(image())
    options = ["--port", "0", "--weights", str(weights), "--samples", str(tmp_path / "samples")]
    options += ["--state", str(tmp_path / "state")]
    with subprocess.Popen(
        ["sh", "-c", FEW_FILES, "sh", sys.executable, "-c", RUN, "serve", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        log: list[str] = []
        reading = threading.Thread(target=lambda: log.extend(server.stderr))
        reading.start()
        printed = list(iter(server.stdout.readline, "\n"))  # none, until the service is ready
        printed += iter(server.stdout.readline, "\n")
        assert f"Inspections are kept in {tmp_path / 'state' / 'archive'}\n" in printed
        command = next((line for line in server.stdout if line.startswith("  curl ")), "")
        assert command, "".join(log)
        answer = subprocess.run(
            [*shlex.split(command), "--silent", "--max-time", "60"],
            capture_output=True,
            text=True,
            check=True,
        )
        url = shlex.split(command)[-1].removesuffix("/detect")
        assert httpx.get(f"{url}/readyz").status_code == 200
        server.send_signal(signal.SIGTERM)
        server.stdout.read()
        status = server.wait(60)
        reading.join()
    assert '"decision":"OK"' in answer.stdout
    assert status == 0, "".join(log)
    assert not any("Traceback" in line for line in log)
    assert any('"path": "/detect"' in line for line in log)
    assert sum("accepting at most 768 connections, not 1024" in line for line in log) == 1


def test_the_console_says_what_nobody_has_decided(tmp_path, save, metrics, capsys):
    save(tmp_path, "parts", {"bolt": 0.5})
    save(tmp_path, "rival", {"bolt": 0.5})
    path = save(tmp_path, "rival", {"bolt": 0.5}) / "manifest.json"
    interrupted = {"finished": False, "epochs_done": 3, "recipe": {"epochs": 100}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"training": interrupted}))
    registry = Registry(Store(tmp_path), metrics)
    service = SimpleNamespace(registry=registry)
    app = SimpleNamespace(state=SimpleNamespace(service=service, archive=None))
    settings = Settings(versions=VersionSettings(weights_dir=tmp_path))
    say_ready(app, "http://127.0.0.1:8000", settings)
    output = capsys.readouterr().out
    assert output.startswith("\nOpen http://127.0.0.1:8000/ in a browser")
    assert "Warning: bolt is contested: parts/1 serves it, and rival/1 could" in output
    assert "Warning: rival/2 is unfinished (3 of 100 epochs done)" in output
    assert "Inspections are not kept: give a folder with --state" in output
