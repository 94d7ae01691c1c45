"""Gives the commands of clients, by name.

answer = await Commands(requester).give(CommandRequest(command="PrepareRecipe", recipe=1))
"""

import asyncio
from collections import OrderedDict

from service.station.machine.images import StationImage
from service.station.machine.states import CommandResult
from service.station.plc.refusals import StationCloses
from service.station.plc.requester import Requester
from service.station.plc.requests.messages import (
    CommandAnswer,
    CommandRequest,
    RequestRefused,
    state_of,
)

_MOST_REMEMBERED = 100


class Commands:
    """A command that comes while another one is running is refused, not queued."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._given: OrderedDict[str, asyncio.Task[CommandAnswer]] = OrderedDict()
        """By request id."""

    async def give(self, request: CommandRequest) -> CommandAnswer:
        """Give a command; a repeat of a `request_id` gets its first answer.

        The command goes on if the caller is cancelled. Raises `RequestRefused`.
        """
        task = self._given.get(request.request_id or "")
        if task is None:
            task = asyncio.create_task(self._give(request))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            if request.request_id is not None:
                self._remember(request.request_id, task)
        return await asyncio.shield(task)

    def _remember(self, request_id: str, task: "asyncio.Task[CommandAnswer]") -> None:
        self._given[request_id] = task
        while len(self._given) > _MOST_REMEMBERED:
            self._given.popitem(last=False)

    async def _give(self, request: CommandRequest) -> CommandAnswer:
        if self._requester.is_commanded:
            result, detail = CommandResult.REFUSED, "another command is running"
        else:
            try:
                result = await self._requester.command(request.code, request.recipe or 0)
            except StationCloses as error:
                raise RequestRefused("stops", str(error)) from error
            detail = _detail(result, self._requester.image)
        return CommandAnswer(
            command=request.command,
            request_id=request.request_id,
            result=result.name,
            detail=detail,
            state=state_of(self._requester.image),
        )


def _detail(result: CommandResult, image: StationImage) -> str:
    if result is CommandResult.DONE:
        return ""
    if result is CommandResult.FAILED:
        code = image.command_error or image.error_code
        return f"it failed: {code.name}" if code else "it failed"
    return f"the state {image.state.name} does not allow it"
