"""Checkpoints in memory: loaded, drained and unloaded while the service runs.

A version is loaded on every worker at once: read, every hash verified, warmed up, its golden images
scored. Where that fails, what served goes on serving, and `problem` says why. A version that serves
nothing any more drains for `drain_s`, as long as a request may still be on its way to it, and is
then unloaded.
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
    """Where a version is in its life."""

    AVAILABLE = "available"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"
    UNLOADED = "unloaded"


class Lifecycle:
    """Loads and unloads, one thing at a time for each version. Belongs to one event loop."""

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
        """Leave off whatever is going on; the workers are about to end."""
        tasks = [*self._draining.values(), *self._loading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def state(self, key: CheckpointKey) -> ModelState:
        """Say where a version is in its life."""
        held = self._workers.residents()
        if key in self._loading:
            return ModelState.LOADING
        if key in self._draining or key in self._unloading:
            return ModelState.DRAINING
        if any(key in own for own in held.values()):
            return ModelState.READY
        if self.problem(key):
            return ModelState.FAILED
        if not any(held.values()) and key in self._registry.checkpoints:
            return ModelState.LOADING  # the workers are starting, and it is theirs to load
        return ModelState.UNLOADED if key in self._unloaded else ModelState.AVAILABLE

    def problem(self, key: CheckpointKey) -> str | None:
        """Say why a version cannot be used, or why its latest load failed."""
        why, at = self._failed.get(key, ("", 0.0))
        held = self.residents(key).values()
        if why and held and all(resident.since > at for resident in held):
            why = ""  # it was loaded since, for images that asked for it
        return why or self._registry.problem(key)

    def residents(self, key: CheckpointKey) -> dict[str, Resident]:
        """Return what is known of a version, by the workers that hold it."""
        found = self._workers.residents()
        return {worker: held[key] for worker, held in found.items() if key in held}

    async def rescan(self) -> list[CheckpointKey]:
        """Look for versions that have come into the store, or gone; return the new ones."""
        async with self._scanning:
            return await asyncio.to_thread(self._registry.rescan)

    async def load(self, key: CheckpointKey) -> None:
        """Load a version on every worker, or load it again; callers at one time share one load.

        Raises `ModelRefused`; what held its place goes on serving. A caller that goes away does not
        stop the load.
        """
        self.keep(key)
        if key not in self._loading:
            task = asyncio.create_task(self._load(key))
            self._loading[key] = task
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        await asyncio.shield(self._loading[key])

    async def warm(self, keys: Iterable[CheckpointKey]) -> None:
        """Load those of the versions that some worker does not hold; raises as `load`."""
        for key in dict.fromkeys(keys):
            self.keep(key)
            async with self._locks[key]:  # an unloading that has begun comes first
                held = self._workers.residents()
            if not held or not all(key in own for own in held.values()):
                await self.load(key)

    async def unload(self, key: CheckpointKey) -> None:
        """Finish what a version has to do, and free it; raises `Conflict` for one that serves."""
        roles = self._registry.roles(key)
        if roles:
            serves = ", ".join(f"the {role} version of {category!r}" for category, role in roles)
            raise Conflict(f"{key} is {serves}: route that to another version first")
        self.keep(key)
        await asyncio.shield(asyncio.create_task(self._unload(key)))

    def release(self, keys: Iterable[CheckpointKey]) -> None:
        """Unload versions that serve nothing any more, once no request can be on its way to one."""
        for key in keys:
            task = asyncio.create_task(self._drain(key))
            self._draining[key] = task
            task.add_done_callback(partial(self._forget, key))

    def keep(self, key: CheckpointKey) -> None:
        """Call off the draining of a version, unless it is being unloaded already."""
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
            # What was calibrated since it was found; `Rollout` does it for a version that serves.
            found = await asyncio.to_thread(self._registry.read, key)
            if found and not self._registry.roles(key):
                self._registry.take_up(found)
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
            if self._registry.roles(key):  # it was called back while others were before it
                return
            self._unloading.add(key)
            try:
                await self._workers.unload(key)
            finally:
                self._unloading.discard(key)
            self._unloaded.add(key)
            logger.info("checkpoint %s is unloaded", key)
