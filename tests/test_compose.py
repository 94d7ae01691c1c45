"""The compose files follow the compose specification, and real programs accept their commands."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from service.cli import main as cli
from tests.programs import program

ROOT = Path(__file__).parents[1]
OVERLAYS = sorted(ROOT.glob("docker/compose*.yml"))
FILES = ("docker-compose.yml", *(str(path.relative_to(ROOT)) for path in OVERLAYS))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text("utf-8")
SCHEMA = json.loads((ROOT / "tests/reference/compose/compose-spec.json").read_text("utf-8"))


def faults(compose: dict[str, Any]) -> list[str]:
    """By the specification's schema."""
    validator = jsonschema.Draft7Validator(SCHEMA)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(compose)]


def changed(key: str, value: object) -> dict[str, Any]:
    """Set or remove a key of the service."""
    services = COMPOSE["services"]
    return COMPOSE | {"services": services | {"mambaad": services["mambaad"] | {key: value}}}


def test_the_schema_is_a_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_all_compose_files_are_looked_at():
    assert len(FILES) >= 3


@pytest.mark.parametrize("name", FILES)
def test_compose_files_keep_to_the_specification(name: str):
    assert faults(yaml.safe_load((ROOT / name).read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("read_onyl", True),
        ("ports", "8000"),
        ("tmpfs", {"/tmp": "size=1g"}),
        ("volumes", [{"source": "state", "target": "/var/lib/mambaad"}]),
        ("stop_grace_period", 75),
        ("healthcheck", {"interval": 5}),
    ],
)
def test_a_mistake_in_a_service_is_noticed(key: str, value: object):
    (fault,) = faults(changed(key, value))
    assert key in fault or "mambaad" in fault


def here(argument: str, service: dict[str, Any], data: Path) -> str:
    """Replace the container's paths by this machine's."""
    for volume in service["volumes"]:
        source, inside, *_ = volume.split(":")
        folder = ROOT / source if source.startswith(".") else data / source
        argument = re.sub(rf"(?<=[= ]){re.escape(inside)}(?=/|$)", str(folder), argument)
    return argument


def test_prometheus_starts_with_the_command_of_the_compose_file(tmp_path: Path):
    service = COMPOSE["services"]["prometheus"]
    command = [here(argument, service, tmp_path) for argument in service["command"]]
    assert any(str(ROOT) in argument for argument in command)
    command = [program("prometheus"), *command]
    command += [f"--storage.tsdb.path={tmp_path}", "--web.listen-address=127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "ready to receive web requests" in line:
                process.terminate()
    assert process.returncode == 0, "".join(lines)
    assert any("ready to receive web requests" in line for line in lines), "".join(lines)


def test_the_command_of_the_image_is_taken_by_the_program(monkeypatch: pytest.MonkeyPatch):
    """The compose file has no command for the service: the image's own runs."""
    assert "command" not in COMPOSE["services"]["mambaad"]
    served = []
    monkeypatch.setattr(cli, "run_server", served.append)
    (entry,) = json.loads(re.search(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    assert f'{entry} = "service.cli.main:main"' in (ROOT / "pyproject.toml").read_text("utf-8")
    command = json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    result = CliRunner().invoke(cli.build_commands(), command)
    assert result.exit_code == 0, result.output
    (settings,) = served
    (port,) = COMPOSE["services"]["mambaad"]["ports"]
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", int(port.rpartition(":")[2]))


def test_the_command_that_makes_a_key_makes_one(tmp_path: Path):
    text = (ROOT / "docker/compose.keys.yml").read_text("utf-8")
    arguments = re.search(r"compose run --rm mambaad (.*?)\n#   PUBLISH", text, re.DOTALL)[1]
    words = arguments.replace("\\\n#", " ").split()
    file = words[words.index("--file") + 1]
    service = yaml.safe_load(text)["services"]["mambaad"]
    assert file == service["environment"]["MAMBAAD_API_KEYS_FILE"]
    words[words.index(file)] = str(tmp_path / "keys.json")
    result = CliRunner().invoke(cli.build_commands(), words)
    assert result.exit_code == 0, result.output
    assert "line-3" in (tmp_path / "keys.json").read_text("utf-8")
