"""Links methods to handlers: who may call, which arguments are valid, and what callers read.

    methods.link("RecipeManagement.PrepareRecipe", handler, commands=True)

A handler gets the arguments' values and returns those of the outputs. A command runs to its end
although its client has left, because the station's handshake must not stop half-way.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from typing import Any, TypeAlias

from asyncua import Node, ua
from asyncua.common.ua_utils import data_type_to_variant_type

from service.station.machine.states import CommandResult
from service.station.plc.opcua.security.access import caller
from service.station.plc.opcua.vision import Vision
from service.station.plc.refusals import StationCloses

logger = logging.getLogger("service.opcuamethods")

Handler: TypeAlias = Callable[..., Awaitable[Sequence[ua.Variant]]]
LONGEST_TEXT = 256


class Outcome(IntEnum):
    """The output `Error`: 0 is success; negative numbers are the application's own."""

    OK = 0
    REFUSED = -1
    """The state does not allow the command."""
    FAILED = -2
    """The command began and failed; the register ErrorCode says why."""
    BUSY = -3
    """Another command is running."""
    UNKNOWN_RECIPE = -4
    UNKNOWN_ID = -5
    """No such result, configuration or handle."""
    INVALID = -6
    """A value cannot be used, such as a part id with control characters."""


OUTCOME_OF = {
    CommandResult.DONE: Outcome.OK,
    CommandResult.REFUSED: Outcome.REFUSED,
    CommandResult.FAILED: Outcome.FAILED,
}


class _Argument:
    """The type of an input argument."""

    def __init__(self, kind: ua.VariantType, structure: str, *, is_array: bool) -> None:
        self._kind = kind
        self._structure = structure
        self._is_array = is_array

    def accepts(self, value: ua.Variant) -> bool:
        """Whether a value has the type; structures, texts and arrays may be left out."""
        if value.Value is None:
            return self._is_array or self._kind in _MAY_BE_NULL
        if self._is_array or isinstance(value.Value, list):
            return self._is_array and isinstance(value.Value, list)
        if value.VariantType != self._kind:
            return False
        if self._structure:
            return type(value.Value).__name__ in (self._structure, _BASES.get(self._structure))
        return True


_MAY_BE_NULL = (
    ua.VariantType.ExtensionObject,
    ua.VariantType.String,
    ua.VariantType.LocalizedText,
)
_BASES = dict.fromkeys(
    ("ConfigurationIdDataType", "RecipeIdExternalDataType", "RecipeIdInternalDataType"),
    "BinaryIdBaseDataType",
)


class Methods:
    """The VisionSystem's methods; `shown` waits until clients read the present state.

    So a client that has called a command reads a state that is not older.
    """

    def __init__(self, vision: Vision, shown: Callable[[], Awaitable[None]]) -> None:
        self._vision = vision
        self._shown = shown
        self._running: set[asyncio.Future[Sequence[ua.Variant]]] = set()

    async def link(self, path: str, handler: Handler, *, commands: bool) -> None:
        """Link a method; `commands` says that only users with the role command may call it."""
        await self.link_node(self._vision.node(path), path, handler, commands=commands)

    async def link_node(self, node: Node, name: str, handler: Handler, *, commands: bool) -> None:
        """Like `link`, for any node."""
        arguments = await self._arguments(node)
        self._vision.server.link_method(node, self._callback(name, handler, arguments, commands))

    async def close(self) -> None:
        """Cancel what runs."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _arguments(self, method: Node) -> list[_Argument]:
        server = self._vision.server
        for child in await method.get_children():
            if (await child.read_browse_name()).Name == "InputArguments":
                arguments = []
                for argument in await child.read_value():
                    node = server.get_node(argument.DataType)
                    kind = await data_type_to_variant_type(node)
                    is_structure = kind is ua.VariantType.ExtensionObject
                    name = (await node.read_browse_name()).Name if is_structure else ""
                    arguments.append(_Argument(kind, name, is_array=argument.ValueRank == 1))
                return arguments
        return []

    def _callback(
        self, path: str, handler: Handler, arguments: list[_Argument], commands: bool
    ) -> Callable[..., Awaitable[ua.CallMethodResult]]:
        async def call(parent: ua.NodeId, *values: ua.Variant) -> ua.CallMethodResult:
            user = caller()
            if user is None or (commands and not user.may_command):
                return _refusal(ua.StatusCodes.BadUserAccessDenied)
            if refusal := _check(arguments, values):
                return refusal
            if commands:
                logger.info("%s called %s", user.name or "anonymous", path)
            task = asyncio.ensure_future(handler(*(value.Value for value in values)))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                outputs = await asyncio.shield(task)
            except StationCloses:
                return _refusal(ua.StatusCodes.BadShutdown)
            if commands:
                await self._shown()
            return ua.CallMethodResult(OutputArguments=list(outputs))

        return call


def _check(arguments: list[_Argument], values: Sequence[ua.Variant]) -> ua.CallMethodResult | None:
    """Return the answer to wrong arguments; None for right ones."""
    if len(values) < len(arguments):
        return _refusal(ua.StatusCodes.BadArgumentsMissing)
    if len(values) > len(arguments):
        return _refusal(ua.StatusCodes.BadTooManyArguments)
    results = [
        ua.StatusCodes.Good if argument.accepts(value) else ua.StatusCodes.BadTypeMismatch
        for argument, value in zip(arguments, values, strict=True)
    ]
    if all(result == ua.StatusCodes.Good for result in results):
        return None
    refusal = _refusal(ua.StatusCodes.BadInvalidArgument)
    refusal.InputArgumentResults = [ua.StatusCode(result) for result in results]
    return refusal


def _refusal(status: int) -> ua.CallMethodResult:
    return ua.CallMethodResult(StatusCode=ua.StatusCode(status))


def outcome(value: Outcome) -> ua.Variant:
    """Return the output `Error`."""
    return ua.Variant(int(value), ua.VariantType.Int32)


def id_of(value: Any) -> str:  # noqa: ANN401
    """Return the text of an id structure; an empty one for none."""
    return str(getattr(value, "Id", None) or "").strip()


def is_usable(text: str, longest: int = LONGEST_TEXT) -> bool:
    """Whether a text of a client may be kept: printable, and not too long."""
    return len(text) <= longest and text.isprintable()
