"""Loads, drains and unloads checkpoints while the service runs.

All workers load a version at once: they read it, verify every hash, warm up, and score its golden
images. If that fails, `problem` says why, and the serving versions go on. A version that no longer
serves drains for `drain_s` (as long as a request may still use it), and is then unloaded.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from functools import partial

from model.checkpoints.key import CheckpointKey
from service.errors import CheckpointUnavailable, Conflict, ModelRefused
from service.versions.registry import Registry
from service.workers.pipe.messages import Resident
from service.workers.protocol import Workers

logger = logging.getLogger("service.lifecycle")


class ModelState(StrEnum):
    """The state of a version in the workers' memory."""

    AVAILABLE = "available"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"
    UNLOADED = "unloaded"


class Lifecycle:
    """Loads and unloads versions, one operation at a time for each. Belongs to one event loop."""

    def __init__(self, registry: Registry, workers: Workers, drain_s: float) -> None:
        self._registry = registry
        self._workers = workers
        self._drain_s = drain_s
        self._loading: dict[CheckpointKey, asyncio.Task[None]] = {}
        self._draining: dict[CheckpointKey, asyncio.Task[None]] = {}
        self._unloading: set[CheckpointKey] = set()
        self._locks: defaultdict[CheckpointKey, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failed: dict[CheckpointKey, tuple[str, float]] = {}
        self._unloaded: set[CheckpointKey] = set()
        self._scanning = asyncio.Lock()

    async def close(self) -> None:
        """Cancel all loads and drains; the workers are about to end."""
        tasks = [*self._draining.values(), *self._loading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def state(self, key: CheckpointKey) -> ModelState:
        """Return the state of a version."""
        residents = self._workers.residents().values()
        if key in self._loading:
            return ModelState.LOADING
        if key in self._draining or key in self._unloading:
            return ModelState.DRAINING
        if any(key in on_worker for on_worker in residents):
            return ModelState.READY
        if self.problem(key):
            return ModelState.FAILED
        if not any(residents) and key in self._registry.checkpoints:
            return ModelState.LOADING  # starting workers load all serving checkpoints
        return ModelState.UNLOADED if key in self._unloaded else ModelState.AVAILABLE

    def problem(self, key: CheckpointKey) -> str | None:
        """Return why a version cannot be used, or why its latest load failed."""
        why, failed_at = self._failed.get(key, ("", 0.0))
        residents = self.residents(key).values()
        if why and residents and all(resident.since > failed_at for resident in residents):
            why = ""  # an image has had it loaded since
        return why or self._registry.problem(key)

    def residents(self, key: CheckpointKey) -> dict[str, Resident]:
        """Return a version's memory and times on each worker that has loaded it."""
        residents = self._workers.residents()
        return {name: loaded[key] for name, loaded in residents.items() if key in loaded}

    async def rescan(self) -> list[CheckpointKey]:
        """Scan the store for new and removed versions; return the new ones."""
        async with self._scanning:
            return await asyncio.to_thread(self._registry.rescan)

    async def load(self, key: CheckpointKey) -> None:
        """Load a version on every worker, again if it is loaded; concurrent callers share one load.

        Raises `ModelRefused`; a version that was loaded stays. Cancelling does not stop the load.
        """
        self.keep(key)
        if key not in self._loading:
            task = asyncio.create_task(self._load(key))
            self._loading[key] = task
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        await asyncio.shield(self._loading[key])

    async def warm(self, keys: Iterable[CheckpointKey]) -> None:
        """Load those of the versions that some worker has not loaded. Raises as `load`."""
        for key in dict.fromkeys(keys):
            self.keep(key)
            async with self._locks[key]:  # wait for an unload that has begun
                is_held = self._workers.holds(key)
            if not is_held:
                await self.load(key)

    async def unload(self, key: CheckpointKey) -> None:
        """Finish a version's queued images, and free it. Raises `Conflict` for one that serves."""
        roles = self._registry.roles(key)
        if roles:
            serves = ", ".join(f"the {role} version of {category!r}" for category, role in roles)
            raise Conflict(f"{key} is {serves}: route these to another version first")
        self.keep(key)
        await asyncio.shield(asyncio.create_task(self._unload(key)))

    def release(self, keys: Iterable[CheckpointKey]) -> None:
        """Unload versions that no longer serve, once no request can still use them."""
        for key in keys:
            task = asyncio.create_task(self._drain(key))
            self._draining[key] = task
            task.add_done_callback(partial(self._forget, key))

    def keep(self, key: CheckpointKey) -> None:
        """Cancel the draining of a version, unless its unload has begun."""
        task = self._draining.pop(key, None)
        if task:
            task.cancel()

    async def _load(self, key: CheckpointKey) -> None:
        async with self._locks[key]:
            try:
                await self._workers.load(key)
            except CheckpointUnavailable as error:
                why = self._registry.without_paths(str(error))
                self._failed[key] = why, asyncio.get_running_loop().time()
                logger.error("checkpoint %s was not loaded: %s", key, error)  # noqa: TRY400
                raise ModelRefused(f"{key} was not loaded, and nothing changed: {why}") from error
            # Apply a changed calibration; for a version that serves, `Rollout` does, with an audit.
            version = await asyncio.to_thread(self._registry.read, key)
            if version and not self._registry.roles(key):
                self._registry.take_up(version)
            self._failed.pop(key, None)
            self._unloaded.discard(key)
            self._registry.accept(key)
            logger.info("checkpoint %s is loaded", key)

    async def _drain(self, key: CheckpointKey) -> None:
        await asyncio.sleep(self._drain_s)
        await asyncio.shield(asyncio.create_task(self._unload(key)))

    def _forget(self, key: CheckpointKey, task: asyncio.Task[None]) -> None:
        if self._draining.get(key) is task:
            del self._draining[key]

    async def _unload(self, key: CheckpointKey) -> None:
        async with self._locks[key]:
            if self._registry.roles(key):  # routed again while this waited for the lock
                return
            self._unloading.add(key)
            try:
                await self._workers.unload(key)
            finally:
                self._unloading.discard(key)
            self._unloaded.add(key)
            logger.info("checkpoint %s is unloaded", key)
