"""What the container files name is there; no container engine is needed to see that."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
IGNORE = (ROOT / ".dockerignore").read_text("utf-8").splitlines()


def copied_from_context() -> list[str]:
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [source for copy in copies for source in copy.split()]


def is_sent(path: str) -> bool:
    """Whether `docker build` gets to see a top-level path; the last matching line decides."""
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
    assert {"cpu", "cuda"} <= stages
    parents = set(re.findall(r"^FROM ([a-z]\S*)|--from=(\S+)", DOCKERFILE, re.MULTILINE))
    assert {name for pair in parents for name in pair if name} <= stages
    target = COMPOSE["services"]["mambaad"]["build"]["target"]
    assert re.fullmatch(r"\$\{TARGET:-(\w+)\}", target)[1] in stages


def test_images_do_not_run_as_root():
    runtime = DOCKERFILE.partition(" AS runtime")[2]
    users = re.findall(r"^USER (\S+)$", runtime, re.MULTILINE)
    assert users[0] == users[-1] == "10001:10001"


def test_the_settings_of_the_image_are_settings():
    named = set(re.findall(r"\bMAMBAAD_(\w+)=", DOCKERFILE))
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_mounted_files_exist(service: str):
    for volume in COMPOSE["services"][service]["volumes"]:
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]
