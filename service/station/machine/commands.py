"""The handshake of commands: ReqCommand, AckCommand, CommandResult."""

from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage
from service.station.machine.states import CommandResult


class CommandHandshake:
    """Accepts one command at a time.

    Ack echoes the code, and clears after Req is 0 and the command has ended. A code that Req had
    when the station started is ignored until Req was 0.
    """

    def __init__(self) -> None:
        self._may_begin = False
        self.ack = 0
        self.result = CommandResult.RUNNING
        self.error = ErrorCode.NONE
        """Why the latest command failed."""

    @property
    def is_running(self) -> bool:
        """Whether a command has begun and not ended."""
        return self.ack != 0 and self.result is CommandResult.RUNNING

    def next_code(self, inputs: PlcImage) -> int:
        """Return the code of a command that begins in this step, else 0."""
        if inputs.command == 0:
            if not self.is_running:
                self.ack = 0
            self._may_begin = self.ack == 0
            return 0
        if not self._may_begin:
            return 0
        self._may_begin = False
        self.ack = inputs.command
        self.result = CommandResult.RUNNING
        self.error = ErrorCode.NONE
        return inputs.command

    def end(self, result: CommandResult) -> None:
        """End the running command, if there is one."""
        if self.is_running:
            self.result = result
