"""A node's part in the shared state: opened, followed, applied, closed."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from service.errors import ServiceError, SharedStateUnavailable
from service.settings.versions import StateSettings
from service.shared.copy import Copy
from service.shared.deployment import SharedDeployment
from service.shared.follower import Follower
from service.shared.keys import SharedKeys
from service.shared.knowledge import Knowledge
from service.shared.link import Link
from service.telemetry.metrics import Metrics
from service.versions.rollout import Rollout
from service.versions.state import StateUnreadable

logger = logging.getLogger("service.applying")

_RETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class Status:
    """The version that a node serves by, and the newest one that it knows, with its author.

    `problem` says why it follows no more, or not yet.
    """

    version: int
    newest: int
    who: str
    node: str
    at: datetime
    contact_age_s: float
    problem: str | None


@dataclass(frozen=True, slots=True)
class Sharing:
    """The parts of the shared state in a running service."""

    deployment: SharedDeployment
    keys: SharedKeys
    follower: Follower
    knowledge: Knowledge
    changing: Link

    @property
    def failure(self) -> str | None:
        """Why the PostgreSQL cannot be used now; None if it can."""
        return self.follower.failure

    def status(self) -> Status:
        """Describe what this node serves by, for people."""
        applied, newest = self.deployment.applied, self.knowledge.newest
        return Status(
            version=applied.place.version,
            newest=newest.place.version,
            who=newest.who,
            node=newest.node,
            at=newest.at,
            contact_age_s=self.knowledge.contact_age_s,
            problem=self.deployment.held_because or self.failure,
        )

    async def apply(self, rollout: Rollout) -> None:
        """Apply each newer state as a whole, until cancelled; one that cannot be is tried again."""
        loop, newer = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(newer.set)

        self.knowledge.on_newer = wake
        while True:
            newer.clear()
            await self._apply_newest(rollout)
            timeout_s = None if self.deployment.hold is None else _RETRY_S
            try:
                await asyncio.wait_for(newer.wait(), timeout_s)
            except TimeoutError:
                continue

    async def _apply_newest(self, rollout: Rollout) -> None:
        deployment = self.deployment
        update = deployment.pending()
        if update is None:
            deployment.hold = None
            return
        version = self.knowledge.newest.place.version
        try:
            await rollout.follow(update)
        except ServiceError as error:
            hold = (
                f"version {version} of the shared state cannot serve on this node, which goes on "
                f"with version {deployment.applied.place.version}: {error}"
            )
            if hold != deployment.hold:
                logger.error("%s", hold)  # noqa: TRY400 - the message has it all
            deployment.hold = hold
        except Exception:
            logger.exception("version %d of the shared state could not be applied", version)
            deployment.hold = f"version {version} of the shared state could not be applied: see log"
        else:
            if deployment.applied.place.version == version:  # else a newer one came meanwhile
                logger.info("version %d of the shared state is applied", version)

    def close(self) -> None:
        """End the thread and the connections."""
        self.knowledge.on_newer = lambda: None
        self.follower.stop()
        self.changing.close()


def open_sharing(settings: StateSettings, folder: Path, node: str, metrics: Metrics) -> Sharing:
    """Read the shared state, or this node's last one if the PostgreSQL is away; blocks.

    `folder` is locked by this service. Raises `StateUnreadable`.
    """
    copy = Copy(folder)
    last, audit = copy.read_state(), copy.read_audit()
    try:
        following, changing = Link(settings, node), Link(settings, node)
    except ValueError as error:
        raise StateUnreadable(f"MAMBAAD_STATE__URL: {error}") from error
    failure = None
    try:
        after = audit[-1].number if audit else 0
        reading = following.read(last.place if last else None, after if last else 0)
    except SharedStateUnavailable as error:
        if last is None:
            following.close()
            raise StateUnreadable(
                f"this node has no last state to go on from, and {error}"
            ) from error
        failure = str(error)
        logger.warning(
            "this node goes on from version %d of the shared state: %s", last.place.version, error
        )
        knowledge = Knowledge(copy, last, audit)
    else:
        if last is None:
            assert reading.state is not None
            copy.forget_audit()
            knowledge = Knowledge(copy, reading.state, [])
        else:
            knowledge = Knowledge(copy, last, audit)
        knowledge.take(reading)
    follower = Follower(following, knowledge, settings.poll_s)
    follower.failure = failure
    deployment = SharedDeployment(changing, knowledge, node, metrics)
    deployment.failure_of = lambda: follower.failure
    return Sharing(
        deployment,
        SharedKeys(knowledge),
        follower,
        knowledge,
        changing,
    )
