"""A process's connection to the Ray cluster, and the manager's handle."""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.experimental import internal_kv

from service.cluster.messages import CannotJoin, ClusterPlan, Presence, Roster, Unreachable
from service.cluster.remote.address import knock
from service.cluster.remote.calls import first_line
from service.cluster.remote.manager import Manager

logger = logging.getLogger("service.bridge")

NAMESPACE = "mambaad"


class Connection:
    """Joined to a cluster for the life of this process. Raises `CannotJoin`."""

    def __init__(self, plan: ClusterPlan) -> None:
        address = plan.cluster.address
        assert address is not None
        self._plan = plan
        try:
            ray.init(
                address=address,
                namespace=NAMESPACE,
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.WARNING,
            )
            if _reports_its_use():
                raise CannotJoin(
                    f"the Ray cluster at {address} reports its use to Ray's makers: start its head "
                    "with RAY_USAGE_STATS_ENABLED=0"
                )
            self.node_id = ray.get_runtime_context().get_node_id()
            self._node: Any = ray._private.worker._global_node
            self.manager = self._find_manager()
        except (OSError, RayError, RuntimeError, ValueError) as error:
            raise CannotJoin(f"cannot join the Ray cluster at {address}: {error}") from error

    def _find_manager(self) -> Any:  # noqa: ANN401
        """Return the manager, which Ray starts if there is none."""
        return (
            ray.remote(Manager)
            .options(
                name=self._plan.name,
                get_if_exists=True,
                lifetime="detached",
                max_restarts=-1,
                max_concurrency=1000,
                num_cpus=0,
            )
            .remote(self._plan)
        )

    def has_node(self) -> bool:
        """Whether the Ray node of this machine that this process has joined still runs."""
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.setblocking(False)
            try:
                knocking.connect(self._node.raylet_socket_name)
            except BlockingIOError:
                return True  # so many others connect at this moment
            except OSError:
                return False
        return True

    def has_head(self) -> bool:
        """Whether the head is the one of this cluster, or does not answer. Blocks.

        A head that was restarted begins another cluster, and Ray's own calls to it fail for ever.
        """
        address = self._node.gcs_address
        try:
            knock(address)
            raylet: Any = ray._raylet
            found = raylet.GcsClient(address=address).cluster_id
        except (OSError, RayError, RuntimeError) as error:
            logger.info("the head at %s does not answer: %s", address, error)
            return True
        return bool(found == self._node.cluster_id)

    async def join(self, presence: Presence) -> tuple[Roster, dict[str, Any]]:
        """Tell the manager of the service; return the workers. Raises `CannotJoin`."""
        answer = await self.answer(self.manager.join.remote(presence, self.node_id))
        if isinstance(answer, Unreachable):
            if answer.is_final:  # it found no service for a while, for example
                self.manager = await asyncio.to_thread(self._find_manager)
            raise CannotJoin(f"the cluster's manager does not answer: {answer.reason}")
        roster, workers = answer
        return roster, workers

    async def leave(self, service: str) -> None:
        """Tell the manager that the service ends; waits for it a moment."""
        try:
            async with asyncio.timeout(1):
                await self.answer(self.manager.leave.remote(service))
        except TimeoutError:
            logger.info("the cluster's manager was not told that this service ends")

    async def answer(self, reference: Awaitable[Any]) -> Any:  # noqa: ANN401
        """Return an actor's answer, or `Unreachable`. Cancelling cancels the call."""
        try:
            return await reference
        except asyncio.CancelledError:
            ray.cancel(reference, recursive=False)
            raise
        except RayError as error:
            return Unreachable(first_line(error), isinstance(error, ActorDiedError))


def _reports_its_use() -> bool:
    """Whether the cluster's head was started without `RAY_USAGE_STATS_ENABLED=0`."""
    # Ray has no public call for this. Only a head that reports notes from which commit it is.
    metadata = internal_kv._internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster")
    return "git_commit" in json.loads(metadata or b"{}")
