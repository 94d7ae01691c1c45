"""`mambaad deliveries`, against a service on a socket."""

import threading
from types import SimpleNamespace

import pytest
import uvicorn
from typer.testing import CliRunner

from service.app import create_app
from service.cli.main import build_commands
from service.settings import Settings, VersionSettings
from service.versions.rollout import Rollout
from service.versions.state import Deployment
from tests.service.delivery.broker import free_port
from tests.service.delivery.conftest import deliver, journal  # noqa: F401
from tests.service.delivery.journals import parts, record
from tests.service.delivery.receiver import SECRET, Receiver


@pytest.fixture
def receiver():
    with Receiver().running() as running:
        yield running


@pytest.fixture
def service(tmp_path, eventually):
    """A service on a socket, without workers; the test gives it deliveries."""
    app = create_app(Settings(versions=VersionSettings(weights_dir=tmp_path)))
    rollout = Rollout(None, None, Deployment(None), app.state.metrics)
    app.state.service = SimpleNamespace(rollout=rollout)
    port = free_port()
    config = uvicorn.Config(app, port=port, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield app.state, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def run(service, monkeypatch):
    """Run `mambaad deliveries`."""
    monkeypatch.setenv("MAMBAAD_URL", service[1])
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(build_commands(), ["deliveries", *words])


def test_a_service_without_sinks_says_so(run):
    result = run()
    assert (result.exit_code, result.stderr) == (0, "This service has no sinks.\n")


def test_the_table_and_what_an_operator_may_ask(
    run, service, journal, deliver, receiver, tmp_path, eventually  # noqa: F811
):  # fmt: skip
    (tmp_path / "secret").write_text(SECRET, "utf-8")
    receiver.refused_parts = {"1"}
    receiver.answer = b"no \x1b[31mred\x07 parts"
    service[0].deliveries = deliver(
        hook={"type": "webhook", "url": receiver.url, "secret_file": tmp_path / "secret"},
        files={"type": "folder", "path": tmp_path / "results"},
    )
    record(journal, parts(3))
    eventually(lambda: all(not status.depth for status in service[0].deliveries.status()))

    table = run()
    assert table.exit_code == 0, table.output
    words = [[word for word in line.split() if word != "│"] for line in table.output.splitlines()]
    (hook,) = [line for line in words if line[:1] == ["hook"]]
    assert hook == ["hook", "webhook", "delivering", "0", "-", "2", "1", "3"]
    assert "HTTP 422: no ?[31mred? parts" in table.output

    dead = run("dead", "hook")
    assert dead.exit_code == 0, dead.output
    assert "  2  " in dead.output
    assert run("dead", "files").stderr == "files has no dead letters.\n"

    receiver.refused_parts = set()
    assert run("retry", "hook").output == "hook is tried now; dead letters sent again: 1\n"
    eventually(lambda: {message["number"] for message in receiver.taken} == {1, 2, 3})

    replay = run("replay", "hook", "--since", "2020-01-01")
    assert replay.exit_code == 0, replay.output
    eventually(lambda: len(receiver.taken) == 6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("retry", "mse"), "there is no sink 'mse'; have: none"),
        (("replay", "mse", "--since", "yesterday"), "--since: expected a time such as"),
        (("replay", "a b?", "--since", "2026-11-29"), "there is no sink 'a b?'"),
        (("--url", "127.0.0.1"), "expected a URL such as"),
        (("--url", "http://127.0.0.1:1", "dead", "mes"), "cannot be reached"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(run, words, message):
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
