"""requirements.lock has a fitting version of everything that CI and the images install."""

import importlib.util
import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", LOCK, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
IMAGES = (ROOT / "docker/Dockerfile").read_text("utf-8")


@pytest.fixture(scope="module")
def lock():
    spec = importlib.util.spec_from_file_location("lock", ROOT / ".ci/lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def needed(extras):
    """Yield the project's requirements with these extras and their nested ones."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    for line in lines:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            yield from needed(requirement.extras)
        else:
            yield requirement


def applies(requirement):
    environment = default_environment() | {"extra": "", "python_version": "3.11"}
    return requirement.marker is None or requirement.marker.evaluate(environment)


def test_every_requirement_is_pinned_to_a_version_that_fits(lock):
    requirements = {str(r): r for r in needed(lock.EXTRAS) if applies(r)}
    assert len(requirements) > 40
    wrong = {}
    for text, requirement in requirements.items():
        name = canonicalize_name(requirement.name)
        if lock.NOT_LOCKED.fullmatch(name):
            continue
        if name not in PINS or not requirement.specifier.contains(PINS[name], prereleases=True):
            wrong[text] = PINS.get(name, "not locked")
    assert wrong == {}, "run `make lock`"


def test_what_a_pinned_package_needs_is_pinned_and_fits_too(lock):
    """Checks the packages that are installed here in the pinned version."""
    wrong, looked_at = {}, 0
    for name, pin in PINS.items():
        try:
            if version(name).partition("+")[0] != pin:
                continue
        except PackageNotFoundError:
            continue
        looked_at += 1
        for line in requires(name) or ():
            requirement = Requirement(line)
            other = canonicalize_name(requirement.name)
            if not applies(requirement) or lock.NOT_LOCKED.fullmatch(other):
                continue
            if other not in PINS or not requirement.specifier.contains(PINS[other], True):
                wrong[f"{name}: {line}"] = PINS.get(other, "not locked")
    assert wrong == {}
    assert looked_at > 20


def test_it_names_versions_alone():
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    assert len(lines) == len(PINS)
    assert list(PINS) == sorted(PINS)
    assert not re.search(r"https?:|file:|--hash|\+cpu|/", "\n".join(lines))


def test_every_installation_of_the_images_keeps_to_it():
    installs = re.findall(r"pip install ((?:[^\n]|\\\n)*)", IMAGES)
    from_index = [text for text in installs if "--no-deps" not in text]
    assert len(from_index) >= 4
    assert [text for text in from_index if "--constraint requirements.lock" not in text] == []


def test_a_report_of_pip_becomes_lines(lock):
    packages = [
        ("Torch", "2.13.0+cpu"),
        ("typing_extensions", "4.0"),
        ("triton", "3"),
        ("pip", "1"),
    ]
    report = {"install": [{"metadata": {"name": n, "version": v}} for n, v in packages]}
    assert lock.pins(report) == ["torch==2.13.0", "typing-extensions==4.0"]
