"""The machine's times and recipes."""

from dataclasses import dataclass

from service.station.machine.verdicts import FailSafe


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """Times in milliseconds; a time-out of 0 is off.

    A part is UNDECIDED `takt_ms - reserve_ms` after its trigger, so that ResultsValid is on within
    the takt. With `autostart_recipe`, the station prepares that recipe without a command.
    """

    recipes: frozenset[int]
    takt_ms: float = 1_000.0
    reserve_ms: float = 50.0
    ack_timeout_ms: float = 5_000.0
    plc_timeout_ms: float = 0.0
    heartbeat_ms: float = 500.0
    fail_safe: FailSafe = FailSafe.NG
    autostart_recipe: int | None = None
