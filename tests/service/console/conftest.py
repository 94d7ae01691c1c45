"""Services with a console, with and without keys, and one Chromium for all tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.access.keys import add_key
from service.http.declaration import Scope
from service.settings import (
    AccessSettings,
    ConsoleSettings,
    HttpSettings,
    Settings,
    VersionSettings,
    WorkerSettings,
)
from tests.service.conftest import RunningServer, is_ready, running
from tests.service.console.browser import Browser, chromium


@pytest.fixture(scope="session")
def chromium_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(chromium_process: Browser) -> Iterator[Browser]:
    """Checks after the test that no page wrote an error to the browser's console."""
    chromium_process.clear()
    yield chromium_process
    errors = chromium_process.errors()
    chromium_process.open("about:blank")  # ends the stream of the page Live
    assert errors == []


@pytest.fixture(scope="session")
def samples_dir(tmp_path_factory: pytest.TempPathFactory, image: Any) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for category in ("bolt", "nut"):
        (folder / category).mkdir()
        for number in (1, 2):
            (folder / category / f"part-{number}.png").write_bytes(image(seed=number))
    return folder


@pytest.fixture(scope="session")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="session")
def secrets(keys_file: Path) -> dict[str, str]:
    """The keys of a viewer, an operator, an engineer and a station."""
    scopes = {
        "viewer": [Scope.READ],
        "operator": [Scope.REVIEW],
        "engineer": [Scope.ADMIN, Scope.REVIEW],
        "station": [Scope.DETECT],
    }
    return {name: add_key(keys_file, name, allowed) for name, allowed in scopes.items()}


def settings_of(weights: Path, folder: Path, samples: Path, **rooms: Any) -> Settings:
    return Settings(
        versions=VersionSettings(weights_dir=weights, state_dir=folder),
        workers=WorkerSettings(threads_per_worker=1, max_batch_size=4),
        http=HttpSettings(shutdown_grace_s=0),
        **{"console": ConsoleSettings(samples_dir=samples), **rooms},
    )


@pytest.fixture(scope="session")
def plain(
    weights: Path, tmp_path_factory: pytest.TempPathFactory, samples_dir: Path, eventually: Any
) -> Iterator[RunningServer]:
    """A ready service on this machine, without keys."""
    with running(settings_of(weights, tmp_path_factory.mktemp("state"), samples_dir)) as server:
        eventually(lambda: is_ready(server), "readiness")
        yield server


@pytest.fixture(scope="session")
def keyed(
    weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
    samples_dir: Path,
    keys_file: Path,
    secrets: dict[str, str],
) -> Iterator[RunningServer]:
    """A service that needs keys; its workers may still start."""
    state = tmp_path_factory.mktemp("keyed")
    access = AccessSettings(api_keys_file=keys_file)
    with running(settings_of(weights, state, samples_dir, access=access)) as server:
        yield server
