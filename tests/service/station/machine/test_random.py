"""Random commands, delays, drops and restarts: what must hold in every image."""

from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.station.machine import Machine, MachineSettings, work
from service.station.machine.events import (
    Decided,
    Exposed,
    Forget,
    PrepareRecipe,
    RecipeFailed,
    RecipePrepared,
    Settle,
    SpoolFailed,
    TakePart,
    Tell,
    ToldDurable,
    TriggerDurable,
)
from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage
from service.station.machine.part import result_fields
from service.station.machine.states import TRANSITIONS, Command, find_transition
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict

SETTINGS = MachineSettings(
    recipes=frozenset({1, 2}), takt_ms=100, reserve_ms=10, ack_timeout_ms=200, plc_timeout_ms=500
)
OUTCOMES = st.sampled_from(
    [
        Outcome(Verdict.OK, score=0.1),
        Outcome(Verdict.NG, score=0.9),
        Outcome(Verdict.REVIEW, score=0.5),
        Outcome(Verdict.UNDECIDED, Reason.SERVICE_AWAY),
        Outcome(Verdict.UNDECIDED, Reason.SERVICE_REFUSED, FailSafe.STOP),
        Outcome(Verdict.INPUT_PROBLEM, Reason.IMAGE_FROZEN),
    ]
)
BITS = st.fixed_dictionaries(
    {},
    optional={
        "trigger_enable": st.sampled_from([True, True, True, False]),
        "trigger": st.booleans(),
        "results_ack": st.booleans(),
        "buffer_enable": st.sampled_from([True, True, False]),
        "clear_error": st.booleans(),
        "heartbeat": st.integers(0, 3),
        "command": st.sampled_from([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99]),
        "recipe": st.integers(0, 3),
    },
)
COMMANDS = st.sampled_from([*Command][1:])
RESTARTED = Outcome(Verdict.UNDECIDED, Reason.STATION_RESTARTED, FailSafe.NG)


class Station(RuleBasedStateMachine):
    """Keeps what is durable, as the spool does: it alone survives a restart."""

    settings = SETTINGS

    def __init__(self):
        super().__init__()
        self.now_ms = 0.0
        self.inputs = PlcImage(trigger_enable=True, buffer_enable=True)
        self.numbers = 0
        self.durable: dict[int, TakePart] = {}
        self.told: dict[int, Outcome] = {}
        self.settled: set[int] = set()
        self.inspected: dict[int, set[Outcome]] = {}
        self.seen: dict[int, Verdict] = {}
        self.shown_jobs: list[int] = []
        self.images = []
        self.at_edge = self.inputs
        self.was_triggered = False
        self.start(Machine(self.settings))

    def start(self, machine):
        self.machine = machine
        self.working: dict[int, TakePart] = {}
        self.unwritten: list[object] = []
        self.preparing: list[int] = []
        self.images.clear()
        self.step()

    def step(self, event=None):
        if self.inputs.trigger and not self.was_triggered:
            self.at_edge = self.inputs
        self.was_triggered = self.inputs.trigger
        while True:
            step = self.machine.step(self.inputs, self.now_ms, event)
            for action in step.actions:
                self.carry_out(action)
            self.images.append(step.image)
            self.check(step.image)
            if not step.follows_at_once:
                return
            event = None

    def carry_out(self, action):
        match action:
            case TakePart():
                assert (action.trigger_number, action.part_id) == (
                    self.inputs.trigger_number,
                    self.inputs.part_id,
                )
                self.working[action.job] = action
                self.unwritten.append(action)
            case Tell():
                assert action.job in self.durable
                self.unwritten.append(action)
            case Settle():
                self.settled.add(action.job)
            case Forget():
                assert action.job not in self.durable
                del self.working[action.job]
            case PrepareRecipe():
                self.preparing.append(action.recipe)

    def check(self, image):
        """What holds between two images, and between an image and the spool."""
        before = self.images[-2] if len(self.images) > 1 else image
        if before.result != image.result:
            assert not before.results_valid
            assert not image.results_valid
        if image.trigger_ack and not before.trigger_ack:
            (job,) = [job for job in self.durable if self.is_of(job, self.at_edge)]
            assert job not in self.settled
        if image.results_valid and not before.results_valid:
            self.check_result(image.result)

    def check_result(self, fields):
        (job,) = [job for job in self.durable if self.is_of(job, fields)]
        assert job not in self.settled
        self.shown_jobs.append(job)
        told = self.told.get(job)
        if fields.verdict.was_inspected:
            assert told is not None  # durable before the PLC sees it
        if fields.verdict is Verdict.OK:
            assert any(outcome.verdict is Verdict.OK for outcome in self.inspected[job])
        decision = fields.verdict if fields.verdict.was_inspected else Verdict.UNDECIDED
        earlier = self.seen.setdefault(fields.trigger_number, decision)
        assert earlier is decision  # the PLC never sees two decisions of a part

    def is_of(self, job, numbers):
        part = self.durable[job]
        return (part.trigger_number, part.part_id) == (numbers.trigger_number, numbers.part_id)

    @rule(bits=BITS)
    def plc_writes(self, bits):
        if bits.get("trigger") or bits.get("command") == 4:
            self.numbers += 1
            bits |= {"trigger_number": self.numbers, "part_id": f"part-{self.numbers}"}
        fields = {name: getattr(self.inputs, name) for name in PlcImage.__slots__}
        self.inputs = PlcImage(**{**fields, **bits})
        self.step()

    @rule()
    def plc_makes_ready(self):
        """The short way to Ready, so that most runs take parts."""
        beat = self.inputs.heartbeat + 1
        for command in (0, 11, 0, 11, 0, 1, 0, 2, 0):
            self.inputs = PlcImage(
                trigger_enable=True, buffer_enable=True, heartbeat=beat, command=command, recipe=1
            )
            self.step()
        while self.preparing:
            self.step(RecipePrepared(self.preparing.pop()))
        self.step()

    def plc_changes(self, **bits):
        self.inputs = replace(self.inputs, **bits)
        self.step()

    @rule(command=COMMANDS, recipe=st.integers(1, 3))
    def plc_commands(self, command, recipe):
        """A command that is certainly seen, which bits written at random seldom are."""
        self.plc_changes(command=0)
        self.numbers += command is Command.START_SINGLE_JOB
        self.plc_changes(
            command=command, recipe=recipe, trigger_number=self.numbers,
            part_id=f"part-{self.numbers}",
        )  # fmt: skip
        self.plc_changes(command=0)

    @rule(continuous=st.booleans(), busy=st.booleans(), command=COMMANDS)
    def plc_interrupts(self, continuous, busy, command):
        """A command in each state of execution, with and without a part in work."""
        self.plc_commands(Command.RESET, 1)
        self.plc_makes_ready()
        if continuous:
            self.plc_commands(Command.START_CONTINUOUS, 1)
        if busy:
            self.plc_triggers()
        self.plc_commands(command, 2)

    @rule()
    def the_disk_is_full(self):
        """A fault of no part, in any state."""
        self.step(SpoolFailed(0, ErrorCode.SPOOL_FULL))

    @rule()
    def plc_triggers(self):
        """A rising edge with a number of its own."""
        self.plc_changes(trigger_enable=True, trigger=False)
        self.numbers += 1
        self.plc_changes(trigger=True, trigger_number=self.numbers, part_id=f"part-{self.numbers}")

    @precondition(lambda self: self.unwritten and self.machine.job is not None)
    @rule(outcome=OUTCOMES)
    def a_part_goes_through(self, outcome):
        """The short way to a result that waits."""
        job = self.machine.job
        while self.unwritten:
            self.spool_writes()
        if self.machine.job == job:
            self.inspected.setdefault(job, set()).add(outcome)
            self.step(Decided(job, outcome))
        while self.unwritten:
            self.spool_writes()

    @rule()
    def plc_acknowledges(self):
        for ack in (False, True, False):
            fields = {name: getattr(self.inputs, name) for name in PlcImage.__slots__}
            self.inputs = PlcImage(**{**fields, "results_ack": ack})
            self.step()

    @rule(milliseconds=st.sampled_from([1, 5, 20, 100, 300, 1_000]))
    def time_passes(self, milliseconds):
        self.now_ms += milliseconds
        self.step()

    @precondition(lambda self: self.unwritten)
    @rule()
    def spool_writes(self):
        action = self.unwritten.pop(0)
        if isinstance(action, TakePart):
            if action.job in self.working:
                self.durable[action.job] = action
                self.step(TriggerDurable(action.job))
        else:
            self.told[action.job] = action.outcome
            self.step(ToldDurable(action.job, action.outcome))

    @precondition(lambda self: self.unwritten)
    @rule(code=st.sampled_from([ErrorCode.SPOOL_FULL, ErrorCode.SPOOL_UNWRITABLE]))
    def spool_fails(self, code):
        action = self.unwritten.pop(0)
        self.step(SpoolFailed(action.job, code))

    @precondition(lambda self: self.working)
    @rule(data=st.data(), outcome=OUTCOMES)
    def a_part_is_decided(self, data, outcome):
        """Also of parts that have ended, whose answers come late."""
        job = data.draw(st.sampled_from(sorted(self.working)))
        self.inspected.setdefault(job, set()).add(outcome)
        self.step(Exposed(job))
        self.step(Decided(job, outcome))

    @precondition(lambda self: self.preparing)
    @rule(succeeds=st.booleans())
    def a_recipe_ends(self, succeeds):
        recipe = self.preparing.pop(0)
        self.step((RecipePrepared if succeeds else RecipeFailed)(recipe))

    @rule()
    def power_is_cut(self):
        """What is not in the spool is gone; what the PLC has not acknowledged comes again."""
        waiting = [job for job in sorted(self.durable) if job not in self.settled]
        restored = [
            (job, result_fields(self.told.get(job, RESTARTED), *self.numbers_of(job)))
            for job in waiting
        ]
        untold = [job for job in waiting if job not in self.told]
        for job in untold:
            self.told[job] = RESTARTED
        first_job = max([0, *self.durable, *self.working]) + 1
        self.start(
            Machine(
                self.settings, first_job=first_job, restored=restored, was_interrupted=bool(untold)
            )
        )

    def numbers_of(self, job):
        part = self.durable[job]
        return part.recipe, part.trigger_number, part.part_id

    @invariant()
    def no_result_is_lost(self):
        """Every part with a durable trigger is settled, waits for the PLC, or is in work."""
        waiting = [job for job in self.durable if job not in self.settled]
        assert len(waiting) == self.images[-1].buffered + self.in_work()

    def in_work(self):
        return len([job for job in self.durable if job == self.machine.job])

    @property
    def latest(self):
        return max(self.working, default=0)

    @invariant()
    def ready_promises_that_a_trigger_is_taken(self):
        if self.images[-1].ready:
            assert self.machine.job is None


class AutostartStation(Station):
    settings = replace(SETTINGS, autostart_recipe=1)


def walk(station, **options):
    run_state_machine_as_test(
        station,
        settings=settings(
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            **options,
        ),
    )


@pytest.mark.parametrize("station", [Station, AutostartStation])
def test_these_invariants_hold(station):
    walk(station, max_examples=40)


def test_the_rules_walk_every_transition_and_restore_results(monkeypatch):
    """Else the invariants above would hold of little. The same examples each time."""
    walked, restored = Counter(), Counter()

    def noting(state, cause, guards):
        transition = find_transition(state, cause, guards)
        walked[transition] += 1
        return transition

    class NotingResults(work.Results):
        def __init__(self, results=()):
            results = list(results)
            restored[len(results)] += 1
            super().__init__(results)

    monkeypatch.setattr(work, "find_transition", noting)
    monkeypatch.setattr(work, "Results", NotingResults)
    for station in (Station, AutostartStation):
        walk(station, max_examples=40, derandomize=True, database=None)
    assert [row for row in TRANSITIONS if row not in walked] == []
    assert sum(count for results, count in restored.items() if results) > 10
    assert max(restored) > 1
