"""A journal, and deliveries from it to the sinks of a test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.archive.sqlite_journal import SqliteJournal
from service.delivery.deliveries import Deliveries, deliveries_of
from service.settings import ArchiveSettings, DeliverySettings, Settings
from service.telemetry.metrics import Metrics
from tests.service.delivery.broker import Broker
from tests.service.delivery.certificates import Authority
from tests.service.delivery.journals import NODE


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    opened = SqliteJournal.open(tmp_path / "archive", NODE)
    yield opened
    opened.close()


@pytest.fixture
def deliver(journal: SqliteJournal, metrics: Metrics) -> Iterator[Callable[..., Deliveries]]:
    """Start deliveries to sinks by name, and stop them at the end of the test."""
    with ExitStack() as stack:

        def start(**sinks: dict[str, Any]) -> Deliveries:
            settings = Settings(
                archive=ArchiveSettings(node=NODE, site="Plant 2"),
                delivery=DeliverySettings(sinks=sinks),
            )
            deliveries = deliveries_of(settings, journal, metrics)
            deliveries.start()
            stack.callback(deliveries.stop)
            return deliveries

        yield start


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker").running() as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates") / "authority")
