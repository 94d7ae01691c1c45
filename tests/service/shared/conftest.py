"""A PostgreSQL with the tables of the shared state, and nodes without a network on it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.checkpoints.key import CheckpointKey
from service.settings import StateSettings
from service.shared.link import Link
from service.shared.sharing import Sharing, open_sharing
from service.shared.tables import STEPS
from service.shared.transfer import CommandAuthor, Source, import_state
from service.telemetry.metrics import Metrics
from service.versions.assignment import Assignment
from service.versions.state import AuditRecord, State

AUTHOR = CommandAuthor("ada", "office")


@pytest.fixture
def state_url(postgresql_url: str) -> str:
    """A PostgreSQL with the tables, and no state."""
    STEPS.migrate(postgresql_url)
    return postgresql_url


@pytest.fixture
def links(state_url: str) -> Iterator[Callable[..., Link]]:
    """Open links to the PostgreSQL, or to another port."""
    opened: list[Link] = []

    def make(url: str = state_url, timeout_s: float = 5.0) -> Link:
        opened.append(Link(StateSettings(url=url, timeout_s=timeout_s), "office"))
        return opened[-1]

    yield make
    for link in opened:
        link.close()


@pytest.fixture
def first(links: Callable[..., Link]) -> Link:
    """Bring an empty state into the PostgreSQL."""
    link = links()
    import_state(link, Source(State(), (), ()), AUTHOR)
    return link


@pytest.fixture
def nodes(state_url: str, tmp_path: Path) -> Iterator[Callable[..., Sharing]]:
    """Open nodes, each with a folder of its own; a node that is opened again goes on from there."""
    opened: list[Sharing] = []

    def make(name: str, url: str = state_url, timeout_s: float = 5.0) -> Sharing:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        settings = StateSettings(url=url, poll_s=0.2, timeout_s=timeout_s)
        opened.append(open_sharing(settings, folder, name, Metrics(CollectorRegistry())))
        return opened[-1]

    yield make
    for sharing in opened:
        sharing.close()


def record_of(who: str = "Ada", **fields: object) -> AuditRecord:
    """A change of bolt's route."""
    values = {
        "at": datetime.now(UTC), "who": who, "reason": "better", "caller": "key", "action": "route",
        "category": "bolt", "request_id": "r-1", "before": None, "after": None,
    }  # fmt: skip
    return AuditRecord(**(values | fields))


def routed(sharing: Sharing, version: str, category: str = "bolt") -> State:
    """The state that a node serves by, with another route."""
    stable = CheckpointKey("parts", version)
    return sharing.deployment.state.with_route(category, Assignment(stable=stable))


def read(sharing: Sharing) -> None:
    """Read the state once, as the follower does, and apply it as far as no network is needed."""
    update = sharing.deployment.newer(record_of())
    if update is not None:
        update.adopt()
