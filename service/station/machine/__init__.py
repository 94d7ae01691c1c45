"""The station's state machine: no I/O, and time is an argument.

    machine = Machine(MachineSettings(recipes=frozenset({1})))
    step = machine.step(PlcImage(command=Command.SELECT_MODE_AUTOMATIC), now_ms=0.0)
    step.image.state, step.actions

Each step takes what the PLC writes and one event, and returns what the PLC reads and the actions
that the caller must carry out. The outcome of an action comes back as an event.
"""

from service.station.machine.machine import Machine, MachineSettings, Step

__all__ = ["Machine", "MachineSettings", "Step"]
