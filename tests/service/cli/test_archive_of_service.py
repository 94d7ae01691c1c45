"""`mambaad archive` beside a running service, and through it."""

import json

import httpx
import pytest
from typer.testing import CliRunner

from service.cli.main import build_commands
from service.settings import (
    ArchiveSettings,
    HttpSettings,
    Settings,
    VersionSettings,
    WorkerSettings,
)
from tests.service.conftest import is_ready


@pytest.fixture(scope="module")
def service(weights, start_server, image, eventually, tmp_path_factory):
    """A service that has inspected three bolts (OK) and two nuts (NG), and kept their images."""
    state = tmp_path_factory.mktemp("service") / "state"
    settings = Settings(
        versions=VersionSettings(weights_dir=weights, state_dir=state),
        workers=WorkerSettings(threads_per_worker=1, heartbeat_timeout_ms=120_000, stop_grace_s=2),
        http=HttpSettings(request_timeout_ms=120_000),
        archive=ArchiveSettings(keep_images="OK=1", min_free_bytes=0, node="line-1"),
    )
    with start_server(settings) as server:
        eventually(lambda: is_ready(server), "readiness")
        with server.client() as client:
            for number, category in enumerate(["bolt", "bolt", "bolt", "nut", "nut"]):
                form = {"category": category, "part_id": f"part {number}", "station": "EL-3"}
                files = {"file": image(seed=number)}
                assert client.post("/detect", data=form, files=files).json()["archived"] is True
        yield server, state


@pytest.fixture
def run():
    def invoke(*words, **keywords):
        names = ["archive", *map(str, words)]
        return CliRunner().invoke(build_commands(), names, **keywords)

    return invoke


def rows(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_it_is_searched_alike_through_the_service_and_in_its_journal(service, run):
    server, state = service
    words = ("search", "--station", "EL-3", "--told", "NG", "--json")
    through, beside = (rows(run(*words, *s)) for s in (["--url", server.url], ["--state", state]))
    assert through == beside
    assert [row["part_id"] for row in through] == ["part 4", "part 3"]
    identifier = through[0]["inspection_id"]
    shown = [run("show", identifier, *s) for s in (["--url", server.url], ["--state", state])]
    assert "part 4" in shown[0].stdout
    assert str(state / "archive" / "media") in shown[1].stdout
    refused = run("show", identifier.replace("7", "8"), "--url", server.url)
    assert refused.exit_code == 2


def test_images_are_exported_through_the_service(service, run, tmp_path):
    server, state = service
    for number, source in enumerate((["--url", server.url], ["--state", state])):
        folder = tmp_path / str(number)
        result = run("export", "--images", folder, "--assume", "told", *source)
        assert result.exit_code == 0, result.output
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.png")
        }
        for name in ("0", "1")
    )
    assert first == second
    assert len(first) == 5


def test_checks_and_backups_run_beside_it(service, run, tmp_path):
    _, state = service
    checked = run("check", "--state", state)
    assert (checked.exit_code, checked.stdout) == (0, "")
    assert run("backup", tmp_path / "saved", "--state", state).exit_code == 0
    assert run("restore", tmp_path / "saved", "--state", tmp_path / "other").exit_code == 0
    refused = run("restore", tmp_path / "saved", "--state", state, "--force")
    assert (refused.exit_code, "running service" in refused.stderr) == (2, True)


def test_a_purge_goes_through_it(service, run, image):
    server, state = service
    with httpx.Client(base_url=server.url, timeout=180) as client:
        for number in range(2):
            form = {"category": "bolt", "job_id": "trial"}
            files = {"file": image(seed=100 + number)}
            answer = client.post("/detect", data=form, files=files).json()
        held = f"/inspections/{answer['inspection_id']}/hold"
        assert client.put(held, json={"is_held": True}).status_code == 200
    beside = run("purge", "--job", "trial", "--yes", "--state", state)
    assert (beside.exit_code, "--url" in beside.stderr) == (2, True)
    result = run("purge", "--job", "trial", "--yes", "--url", server.url, "--who", "Ada")
    assert "2 inspections match: 2 OK" in result.stdout
    assert "1 are held and stay" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 inspections and 2 files deleted.", result.output
    log = (state / "archive" / "purges.jsonl").read_text("utf-8").splitlines()
    (line,) = map(json.loads, log)
    assert (line["filter"], line["deleted"], line["left"]) == ({"job_id": "trial"}, 1, 1)
    assert line["who"].startswith("Ada (")
    (left,) = rows(run("search", "--job", "trial", "--json", "--url", server.url))
    assert left["is_held"]
