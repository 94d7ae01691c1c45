"""Everything that the container files name exists; no container engine is needed."""

import json
import re
import shutil
import subprocess
import sys
import venv
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from service.settings import Settings, variables

ROOT = Path(__file__).parents[1]
COMPOSE_FILES = (
    "docker-compose.yml",
    "docker/compose.cuda.yml",
    "docker/compose.keys.yml",
    "docker/compose.tls.yml",
)
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
IGNORE = (ROOT / ".dockerignore").read_text("utf-8").splitlines()


def copied_from_context() -> list[str]:
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [source for copy in copies for source in copy.split()]


def is_sent(path: str) -> bool:
    """Return whether `docker build` sees a top-level path; the last matching line decides."""
    sent = True
    for line in IGNORE:
        if line and not line.startswith("#") and fnmatch(path, line.removeprefix("!")):
            sent = line.startswith("!")
    return sent


def test_every_copied_path_exists_and_is_sent():
    assert copied_from_context()
    for source in copied_from_context():
        assert (ROOT / source).exists(), source
        assert is_sent(source), source
    assert not is_sent("data")


def test_stages_and_targets_exist():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert {"cpu", "cuda", "edge", "cluster"} <= stages
    edge = DOCKERFILE.partition("FROM runtime AS edge")[2].partition("\nFROM")[0]
    assert "--from=build-edge" in edge  # so without torch
    assert "--from=build " not in edge
    parents = set(re.findall(r"^FROM ([a-z]\S*)|--from=(\S+)", DOCKERFILE, re.MULTILINE))
    assert {name for pair in parents for name in pair if name} <= stages
    target = COMPOSE["services"]["mambaad"]["build"]["target"]
    assert re.fullmatch(r"\$\{TARGET:-(\w+)\}", target)[1] in stages


def test_images_do_not_run_as_root():
    runtime = DOCKERFILE.partition(" AS runtime")[2]
    users = re.findall(r"^USER (\S+)$", runtime, re.MULTILINE)
    assert users[0] == users[-1] == "10001:10001"


def test_the_settings_of_the_image_are_settings():
    named = set(re.findall(r"\b(MAMBAAD_\w+)=", DOCKERFILE))
    assert named
    assert named <= set(variables())


def test_no_image_holds_a_compiler_or_a_secret():
    runtime = DOCKERFILE.partition(" AS runtime")[2]
    assert not re.search(r"\b(gcc|clang|build-essential|apt-get)\b", runtime)
    assert not re.search(r"(?i)^(ENV|ARG) .*(key|secret|token|password)", DOCKERFILE, re.MULTILINE)
    assert not is_sent("keys.json")
    assert not is_sent(".git")


def test_health_is_asked_where_no_key_is_needed():
    assert health_check()[2].endswith(
        ".urlopen('http' + 's' * tls + '://127.0.0.1:8000/livez', timeout=4, context=c)"
    )


def health_check() -> list[str]:
    return list(json.loads(re.search(r"HEALTHCHECK [^[]*CMD (\[.*\])$", DOCKERFILE, re.M)[1]))


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_the_settings_of_the_compose_files_are_settings(name: str):
    service = yaml.safe_load((ROOT / name).read_text("utf-8"))["services"]["mambaad"]
    assert set(service.get("environment", {})) <= set(variables())


@pytest.mark.parametrize("overlay", [(), ("docker/compose.keys.yml",)])
def test_the_composed_service_may_start(overlay: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    """The container listens beyond itself; start-up refuses that without a setting for keys."""
    monkeypatch.setenv("MAMBAAD_HTTP__HOST", "0.0.0.0")
    for name in (COMPOSE_FILES[0], *overlay):
        service = yaml.safe_load((ROOT / name).read_text("utf-8"))["services"]["mambaad"]
        for variable, value in service["environment"].items():
            monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.contradictions() == []
    assert settings.needs_keys is bool(overlay)


def test_without_keys_only_this_machine_can_reach_a_port():
    for service in COMPOSE["services"].values():
        for port in service["ports"]:
            assert re.match(r"127\.0\.0\.1:|\$\{PUBLISH:-127\.0\.0\.1:8000\}:8000$", port)


def test_containers_hold_no_rights_that_they_do_not_need():
    for service in COMPOSE["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert COMPOSE["services"]["mambaad"]["read_only"] is True


def test_what_the_service_writes_lies_in_volumes_that_its_user_owns():
    owned = re.search(r"install --directory --owner.*?((?:/\S+ ?)+)$", DOCKERFILE, re.M | re.S)
    service = COMPOSE["services"]["mambaad"]
    writable = [v.split(":")[1] for v in service["volumes"] if not v.endswith(":ro")]
    assert set(writable) == set(owned[1].split())
    written = [service["environment"]["MAMBAAD_STATE_DIR"]]
    written += re.findall(r"_CACHE_DIR=(/\S+)", DOCKERFILE)
    assert all(any(path.startswith(volume) for volume in writable) for path in written)


def test_the_engine_waits_longer_than_the_service_takes_to_leave():
    settings = Settings()
    longest_s = (
        settings.http.shutdown_grace_s
        + settings.http.request_timeout_ms / 1000
        + settings.http.body_timeout_s
        + settings.workers.stop_grace_s
    )
    assert int(COMPOSE["services"]["mambaad"]["stop_grace_period"].rstrip("s")) > longest_s + 5


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_mounted_files_exist(service: str):
    for volume in COMPOSE["services"][service]["volumes"]:
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.skipif(
    shutil.which("docker-compose") is None,
    reason="no docker-compose: apt-get install docker-compose",
)
@pytest.mark.parametrize("files", [COMPOSE_FILES[:1], COMPOSE_FILES[:2], COMPOSE_FILES[::2]])
def test_compose_takes_the_files(files: tuple[str, ...]):
    options = [option for name in files for option in ("-f", name)]
    answer = subprocess.run(
        ["docker-compose", *options, "config", "--quiet"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr


@pytest.mark.slow
def test_a_bill_of_materials_is_written_as_in_the_image(tmp_path: Path):
    stage = DOCKERFILE.partition(" AS sbom\n")[2].partition("\nFROM")[0]
    options = re.search(r"cyclonedx-py (.*?) /opt/venv", stage.replace("\\\n", " "))[1].split()
    bill, empty = tmp_path / "sbom.json", tmp_path / "venv"
    venv.create(empty, symlinks=True)  # copying this environment takes half a minute
    options[options.index("--output-file") + 1] = str(bill)
    command = Path(sys.executable).with_name("cyclonedx-py")
    subprocess.run([command, *options, empty / "bin/python"], check=True, capture_output=True)
    assert json.loads(bill.read_text("utf-8"))["bomFormat"] == "CycloneDX"
