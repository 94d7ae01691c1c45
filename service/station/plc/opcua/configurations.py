"""Configurations: the models that inspect, each named by the SHA-256 of its weights.

The service's answer to an image has a model's name and version; the archive also has the SHA-256.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asyncua import ua

from service.client import AsyncClient, InspectionError
from service.client.inspections import Search
from service.station.plc.opcua.events import extension
from service.station.plc.opcua.methods import Methods, Outcome, id_of, outcome
from service.station.plc.opcua.vision import Vision, structure

logger = logging.getLogger("service.opcuamodels")

_PATH = "ConfigurationManagement"


@dataclass(frozen=True, slots=True)
class Model:
    """A version of a model; `sha256` is None until the archive has told it."""

    name: str
    version: str
    sha256: str | None = None


def configuration_id(models: Sequence[Model]) -> Any:  # noqa: ANN401
    """Return the id of a configuration: the SHA-256 of its models, or their names if unknown."""
    texts = [model.sha256 or f"{model.name}/{model.version}" for model in models]
    sha256 = models[0].sha256 if len(models) == 1 else None
    return structure(
        "ConfigurationIdDataType",
        Id=",".join(texts),
        Version=",".join(model.version for model in models) or None,
        Hash=bytes.fromhex(sha256) if sha256 else None,
        HashAlgorithm="SHA-256" if sha256 else None,
        Description=(
            ua.LocalizedText(", ".join(f"{model.name} {model.version}" for model in models))
            if models
            else None
        ),
    )


class Configurations:
    """Knows the models of each category, and answers ConfigurationManagement."""

    def __init__(self, vision: Vision, client: AsyncClient) -> None:
        self._vision = vision
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: set[tuple[str, str]] = set()
        self._active: tuple[Model, ...] = ()
        self._since = datetime.now(UTC)
        self.sha256s: dict[tuple[str, str], str] = {}
        """By name and version of a model."""

    async def link(self, methods: Methods) -> None:
        """Answer the methods, and show that no model is known yet."""
        await methods.link(f"{_PATH}.ActivateConfiguration", self._activate, commands=True)
        await methods.link(f"{_PATH}.GetConfigurationList", self._list, commands=False)
        await methods.link(f"{_PATH}.GetConfigurationById", self._find, commands=False)
        await methods.link(f"{_PATH}.ReleaseConfigurationHandle", self._release, commands=False)
        await self._show()

    async def close(self) -> None:
        """Ask the service no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def prepare(self, categories: Iterable[str]) -> None:
        """Find the models that serve a recipe's categories."""
        self._start(self._learn(tuple(dict.fromkeys(categories))))

    async def saw(self, models: Sequence[Model], inspection_id: str | None) -> None:
        """Note the models of a part; ask the archive for a SHA-256 that is not known."""
        if tuple(models) != self._active and models:
            self._active, self._since = tuple(models), datetime.now(UTC)
            await self._show()
        for model in models:
            key = model.name, model.version
            if model.sha256 is None and inspection_id and key not in self._asking:
                self._asking.add(key)
                self._start(self._ask(inspection_id, key))

    def _start(self, work: Any) -> None:  # noqa: ANN401
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _learn(self, categories: tuple[str, ...]) -> None:
        try:
            serving = {one.category: one.model for one in await self._client.categories()}
        except InspectionError as error:
            logger.warning("the models of %s are not known: %s", ", ".join(categories), error)
            return
        models = [serving[category] for category in categories if category in serving]
        pairs = dict.fromkeys((model.name, model.version) for model in models)
        self._active = tuple([await self._find_model(*pair) for pair in pairs])
        self._since = datetime.now(UTC)
        await self._show()

    async def _find_model(self, name: str, version: str) -> Model:
        """Return a model with the SHA-256 of its newest inspection, if there is one."""
        if (name, version) not in self.sha256s:
            search = Search(model=f"{name}/{version}")
            try:
                newest = await anext(aiter(self._client.inspections(search, page_size=1)), None)
            except InspectionError as error:
                logger.warning("the SHA-256 of %s/%s is not known: %s", name, version, error)
                newest = None
            if newest is not None and newest.model is not None and newest.model.sha256:
                self.sha256s[name, version] = newest.model.sha256
        return Model(name, version, self.sha256s.get((name, version)))

    async def _ask(self, inspection_id: str, key: tuple[str, str]) -> None:
        try:
            model = (await self._client.inspection(inspection_id)).model
        except InspectionError as error:
            logger.warning("the SHA-256 of %s/%s is not known: %s", *key, error)
            return
        finally:
            self._asking.discard(key)
        if model is None or (model.name, model.version) != key:
            return
        learnt = Model(*key, model.sha256)
        if model.sha256:
            self.sha256s[key] = model.sha256
        self._active = tuple(
            learnt if (one.name, one.version) == key else one for one in self._active
        )
        await self._show()

    async def _show(self) -> None:
        node = self._vision.node_id(f"{_PATH}.ActiveConfiguration")
        await self._vision.write(node, self._structure(), ua.VariantType.ExtensionObject)

    def _structure(self) -> Any:  # noqa: ANN401
        return structure(
            "ConfigurationDataType",
            HasTransferableDataOnFile=False,
            ExternalId=configuration_id(self._active),
            InternalId=configuration_id(self._active),
            LastModified=self._since,
        )

    async def _activate(self, _internal: Any) -> Sequence[ua.Variant]:  # noqa: ANN401
        """Refuse: the service assigns models to categories, not the station."""
        return (outcome(Outcome.REFUSED),)

    async def _list(self, _max_results: int, start: int, _timeout: int) -> Sequence[ua.Variant]:
        configurations = [self._structure()] if self._active and start == 0 else []
        return (
            ua.Variant(True, ua.VariantType.Boolean),
            ua.Variant(len(configurations), ua.VariantType.UInt32),
            ua.Variant(0, ua.VariantType.UInt32),
            extension(configurations),
            outcome(Outcome.OK),
        )

    async def _find(self, internal: Any, _timeout: int) -> Sequence[ua.Variant]:  # noqa: ANN401
        wanted = id_of(internal)
        is_active = bool(self._active) and wanted == id_of(configuration_id(self._active))
        configuration = self._structure() if is_active else structure("ConfigurationDataType")
        result = Outcome.OK if is_active else Outcome.UNKNOWN_ID
        return ua.Variant(0, ua.VariantType.UInt32), extension(configuration), outcome(result)

    async def _release(self, handle: int) -> Sequence[ua.Variant]:
        return (outcome(Outcome.OK if handle == 0 else Outcome.UNKNOWN_ID),)
