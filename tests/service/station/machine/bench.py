"""A machine with a PLC's hand at its bits: each change is a step, and every image is kept."""

from dataclasses import replace

from service.station.machine import Machine, MachineSettings
from service.station.machine.events import (
    Decided,
    RecipePrepared,
    TakePart,
    Tell,
    ToldDurable,
    TriggerDurable,
)
from service.station.machine.images import PlcImage, StationImage
from service.station.machine.states import Command, State
from service.station.machine.verdicts import Outcome, Verdict

OK = Outcome(Verdict.OK, score=0.25)
NG = Outcome(Verdict.NG, score=0.75)
SETTINGS = MachineSettings(recipes=frozenset({1, 2}), takt_ms=1_000, reserve_ms=50)


class Bench:
    def __init__(self, settings=SETTINGS, **options):
        self.machine = Machine(settings, **options)
        self.inputs = PlcImage(trigger_enable=True, buffer_enable=True)
        self.now_ms = 0.0
        self.images: list[StationImage] = []
        self.actions = []
        self.wake_at_ms = 0.0
        self.write()

    @property
    def image(self):
        return self.images[-1]

    @property
    def taken(self):
        """The parts that the machine has had taken."""
        return [action for action in self.actions if isinstance(action, TakePart)]

    def of_kind(self, kind):
        return [action for action in self.actions if isinstance(action, kind)]

    def write(self, **bits):
        """Change the PLC's bits; return the last image."""
        self.inputs = replace(self.inputs, **bits)
        return self.hear(None)

    def hear(self, event):
        step = self.machine.step(self.inputs, self.now_ms, event)
        self._keep(step)
        while step.follows_at_once:
            step = self.machine.step(self.inputs, self.now_ms)
            self._keep(step)
        return self.image

    def wait(self, milliseconds):
        self.now_ms += milliseconds
        return self.hear(None)

    def command(self, code, **registers):
        """Give a command and take it back; return how it ended."""
        self.write(command=code, **registers)
        result = self.image.command_result
        self.write(command=0)
        return result

    def be(self, state, *, busy=False):
        """Bring a new machine into a state, with a part in work if `busy`."""
        if state is State.HALTED:
            self.command(Command.HALT)
        elif state is not State.PREOPERATIONAL:
            self.command(Command.SELECT_MODE_AUTOMATIC)
            if state is not State.INITIALIZED:
                self.prepare(1)
        if state is State.CONTINUOUS_EXECUTION:
            self.command(Command.START_CONTINUOUS)
        if busy:
            self.take_part()
        assert self.image.state is state
        return self

    def prepare(self, recipe):
        self.command(Command.PREPARE_RECIPE, recipe=recipe)
        return self.hear(RecipePrepared(recipe))

    def take_part(self, number=1, part_id="cell-1"):
        """Trigger a part and have its trigger durable; return its job."""
        self.write(trigger=True, trigger_number=number, part_id=part_id)
        job = self.taken[-1].job
        self.hear(TriggerDurable(job))
        self.write(trigger=False)
        return job

    def decide(self, job, outcome=OK):
        """Report an outcome and that the spool has it."""
        self.hear(Decided(job, outcome))
        return self.hear(ToldDurable(job, self.told[job]))

    @property
    def told(self):
        return {tell.job: tell.outcome for tell in self.of_kind(Tell)}

    def inspect_part(self, number=1, part_id="cell-1", outcome=OK):
        job = self.take_part(number, part_id)
        self.decide(job, outcome)
        return job

    def acknowledge(self):
        self.write(results_ack=True)
        return self.write(results_ack=False)

    def _keep(self, step):
        self.images.append(step.image)
        self.actions += step.actions
        self.wake_at_ms = step.wake_at_ms
