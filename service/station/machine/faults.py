"""Errors that stay until the PLC acknowledges them, one by one."""

from enum import IntEnum


class ErrorCode(IntEnum):
    """An error in the register ErrorCode."""

    NONE = 0
    UNCLEAN_RESTART = 1
    SPOOL_UNWRITABLE = 2
    SPOOL_FULL = 3
    STOPPED = 4
    UNKNOWN_RECIPE = 5
    RECIPE_FAILED = 6
    MISSED_TRIGGER = 7
    OVERRUN = 8
    TRIGGER_DROPPED = 9

    @property
    def is_fault(self) -> bool:
        """Whether the station goes to the state Error until it is acknowledged."""
        return self in _FAULTS


_FAULTS = (
    ErrorCode.UNCLEAN_RESTART,
    ErrorCode.SPOOL_UNWRITABLE,
    ErrorCode.SPOOL_FULL,
    ErrorCode.STOPPED,
)


class LatchedErrors:
    """The errors that are not acknowledged yet, oldest first, each code once."""

    def __init__(self) -> None:
        self._codes: list[ErrorCode] = []

    def latch(self, code: ErrorCode) -> bool:
        """Add an error; return False if it is latched already."""
        if code in self._codes:
            return False
        self._codes.append(code)
        return True

    def acknowledge(self) -> ErrorCode:
        """Remove the oldest error and return it; NONE if there is no error."""
        return self._codes.pop(0) if self._codes else ErrorCode.NONE

    @property
    def codes(self) -> tuple[ErrorCode, ...]:
        """All errors, oldest first."""
        return tuple(self._codes)

    @property
    def oldest(self) -> ErrorCode:
        """The error that the next acknowledgement removes."""
        return self._codes[0] if self._codes else ErrorCode.NONE

    @property
    def have_fault(self) -> bool:
        """Whether an error keeps the station in the state Error."""
        return any(code.is_fault for code in self._codes)

    def __len__(self) -> int:
        return len(self._codes)
