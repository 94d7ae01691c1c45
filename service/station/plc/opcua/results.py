"""Results: the newest ones, their methods, and the ResultReadyEvent."""

from collections.abc import Sequence
from typing import Any

from asyncua import ua

from service.station.plc.opcua.content import PartResult
from service.station.plc.opcua.events import Events, extension
from service.station.plc.opcua.methods import Methods, Outcome, id_of, outcome
from service.station.plc.opcua.vision import SYSTEM, Vision, structure

_PATH = "ResultManagement"
_LATEST = f"{_PATH}.Results.Latest"
_RESULT_DATA_TYPE = 3006
_MOST_HANDLES = 64
_LONGEST_PAGE = 100
_HANDLE_LIMIT = 0x7FFF_FFFF

_EVENT_FIELDS = {
    "IsPartial": ua.VariantType.Boolean,
    "IsSimulated": ua.VariantType.Boolean,
    "ResultState": ua.VariantType.Int32,
    "CreationTime": ua.VariantType.DateTime,
    "ResultContent": ua.VariantType.String,
}
"""Members of a result that are no structures."""
_COMPONENTS = (
    "IsPartial", "IsSimulated", "ResultState", "MeasId", "PartId", "ExternalRecipeId",
    "InternalRecipeId", "ProductId", "ExternalConfigurationId", "InternalConfigurationId", "JobId",
    "CreationTime", "ProcessingTimes", "ResultContent",
)  # fmt: skip
"""Outputs of GetResultComponentsById after the handle."""
_FILTERS = (
    "MeasId", "PartId", "ExternalRecipeId", "InternalRecipeId", "ExternalConfigurationId",
    "InternalConfigurationId", "ProductId", "JobId",
)  # fmt: skip
"""Inputs of GetResultListFiltered after the state."""


class Results:
    """Keeps the newest results, and those that a client holds by a handle."""

    def __init__(self, vision: Vision, events: Events, station: str, most: int) -> None:
        self._vision = vision
        self._events = events
        self._station = station
        self._most = most
        self._results: dict[str, PartResult] = {}
        """By ResultId, oldest first."""
        self._handles: dict[int, tuple[str, ...]] = {}
        self._next_handle = 1

    async def link(self, methods: Methods) -> None:
        """Answer the methods, and add the variable of the latest result."""
        await methods.link(f"{_PATH}.GetResultById", self._get, commands=False)
        await methods.link(f"{_PATH}.GetResultComponentsById", self._components, commands=False)
        await methods.link(f"{_PATH}.GetResultListFiltered", self._list, commands=False)
        await methods.link(f"{_PATH}.ReleaseResultHandle", self._release, commands=False)
        await self._vision.node(f"{_PATH}.Results").add_variable(
            ua.NodeId(f"{SYSTEM}.{_LATEST}", self._vision.own),
            ua.QualifiedName("Latest", self._vision.own),
            ua.Variant(None, ua.VariantType.Null),
            datatype=self._vision.type_id(_RESULT_DATA_TYPE),
        )

    async def publish(self, result: PartResult) -> None:
        """Keep a result, show it as the latest, and send its event."""
        self._results[result.job.result_id] = result
        self._forget_oldest()
        members = result.members(self._station)
        await self._vision.write(
            self._vision.node_id(_LATEST),
            structure("ResultDataType", **members),
            ua.VariantType.ExtensionObject,
        )
        fields = {name: _field(name, value) for name, value in members.items()}
        del fields["HasTransferableDataOnFile"]
        await self._events.send(
            "ResultReadyEventType",
            self._vision.node_id(_PATH),
            f"{result.verdict.name} for part {result.job.part_id}",
            **fields,
        )

    def _forget_oldest(self) -> None:
        held = {name for names in self._handles.values() for name in names}
        free = [name for name in self._results if name not in held]
        for name in free[: max(0, len(free) - self._most)]:
            del self._results[name]

    async def _get(self, result_id: Any, _timeout: int) -> Sequence[ua.Variant]:  # noqa: ANN401
        result = self._results.get(id_of(result_id))
        if result is None:
            empty = structure("ResultDataType")
            return _number(0), extension(empty), outcome(Outcome.UNKNOWN_ID)
        content = structure("ResultDataType", **result.members(self._station))
        return self._hold([result]), extension(content), outcome(Outcome.OK)

    async def _components(self, result_id: Any, _timeout: int) -> Sequence[ua.Variant]:  # noqa: ANN401
        """Return the members of a result one by one."""
        result = self._results.get(id_of(result_id))
        members = result.members(self._station) if result else {}
        handle = self._hold([result]) if result else _number(0)
        error = Outcome.OK if result else Outcome.UNKNOWN_ID
        components = [_field(name, members.get(name)) for name in _COMPONENTS]
        return ua.Variant(False), handle, *components, outcome(error)

    async def _list(self, state: int, *filters: Any) -> Sequence[ua.Variant]:  # noqa: ANN401
        """Return the newest results first that have a state and the ids that are given."""
        *ids, most, start, _timeout = filters
        wanted = {
            name: id_of(value) for name, value in zip(_FILTERS, ids, strict=True) if id_of(value)
        }
        matching = [
            result
            for result in reversed(self._results.values())
            if state in (0, result.state) and self._has(result, wanted)
        ]
        page = matching[start : start + min(most or _LONGEST_PAGE, _LONGEST_PAGE)]
        contents = [structure("ResultDataType", **result.members(self._station)) for result in page]
        return (
            ua.Variant(start + len(page) >= len(matching), ua.VariantType.Boolean),
            _number(len(page)),
            self._hold(page) if page else _number(0),
            extension(contents),
            outcome(Outcome.OK),
        )

    def _has(self, result: PartResult, wanted: dict[str, str]) -> bool:
        if not wanted:
            return True
        members = result.members(self._station)
        return all(id_of(members[name]) == text for name, text in wanted.items())

    def _hold(self, results: Sequence[PartResult]) -> ua.Variant:
        """Keep results until their handle is released, or many later handles were given."""
        handle = self._next_handle
        self._next_handle = handle % _HANDLE_LIMIT + 1
        self._handles[handle] = tuple(result.job.result_id for result in results)
        if len(self._handles) > _MOST_HANDLES:
            del self._handles[next(iter(self._handles))]
        return _number(handle)

    async def _release(self, handle: int) -> Sequence[ua.Variant]:
        was_held = self._handles.pop(handle, None) is not None
        self._forget_oldest()
        return (outcome(Outcome.OK if was_held else Outcome.UNKNOWN_ID),)


def _field(name: str, value: Any) -> ua.Variant:  # noqa: ANN401
    """Return a member of a result as an event's field or an output."""
    if value is None:
        return ua.Variant(None, ua.VariantType.Null)
    if name == "ResultContent":
        value = [content.Value for content in value]
    return ua.Variant(value, _EVENT_FIELDS.get(name, ua.VariantType.ExtensionObject))


def _number(value: int) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.UInt32)
