"""Every transition of the table, walked; and every command that a state refuses."""

import pytest

from service.station.machine import MachineSettings
from service.station.machine.diagram import draw
from service.station.machine.events import Alarm, RecipePrepared, SpoolFailed
from service.station.machine.faults import ErrorCode
from service.station.machine.states import (
    TRANSITIONS,
    Command,
    CommandResult,
    Effect,
    Guard,
    Occurrence,
    State,
)
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict
from tests.service.station.machine.bench import Bench

ANYWHERE = (Command.NONE, Command.DEQUEUE_RESULT, Command.ACKNOWLEDGE_ERROR)
EXECUTING = (State.SINGLE_EXECUTION, State.CONTINUOUS_EXECUTION)


def name(row):
    words = (row.source.name, row.cause.name, row.guard.name)
    return "-".join(word for word in words if word != "ALWAYS")


def bench_at(row):
    """A machine in the row's source, as its guard wants it."""
    if row.cause is Occurrence.AUTOSTART:
        return Bench(MachineSettings(recipes=frozenset({1}), autostart_recipe=1))
    if row.source is State.ERROR:
        bench = Bench().be(State.READY if row.guard is Guard.RECIPE else State.INITIALIZED)
        bench.hear(SpoolFailed(99, ErrorCode.SPOOL_FULL))
        assert bench.image.state is State.ERROR
        return bench
    ends_part = row.effect in (Effect.END_PART, Effect.END_PART_AND_FORGET_RECIPE)
    busy = row.source is State.SINGLE_EXECUTION or (
        row.source in EXECUTING
        and (ends_part or row.guard is Guard.BUSY or row.cause is Occurrence.PART_ENDED)
    )
    return Bench().be(row.source, busy=busy)


def give(bench, cause):
    match cause:
        case Command.PREPARE_RECIPE:
            assert bench.command(cause, recipe=2) is CommandResult.RUNNING
        case Command.START_SINGLE_JOB:
            assert bench.command(cause) is CommandResult.RUNNING
        case Command():
            assert bench.command(cause) is CommandResult.DONE
        case Occurrence.TRIGGER:
            bench.write(trigger=True)
        case Occurrence.PART_ENDED:
            bench.decide(bench.taken[-1].job)
        case Occurrence.RECIPE_PREPARED:
            bench.command(Command.PREPARE_RECIPE, recipe=1)
            bench.hear(RecipePrepared(1))
        case Occurrence.FAULT:
            bench.hear(SpoolFailed(99, ErrorCode.SPOOL_UNWRITABLE))
        case Occurrence.RECOVERED:
            bench.command(Command.ACKNOWLEDGE_ERROR)


WALKED = [row for row in TRANSITIONS if row.cause is not Occurrence.AUTOSTART]


@pytest.mark.parametrize("row", WALKED, ids=name)
def test_a_transition_leads_to_its_state_with_its_effect(row):
    bench = bench_at(row)
    before = len(bench.taken)
    was_busy = bench.image.busy
    give(bench, row.cause)
    assert bench.image.state is row.target
    if row.effect is Effect.START_PART:
        assert len(bench.taken) == before + 1
    if "END_PART" in row.effect.name and was_busy:
        assert bench.image.result.verdict is Verdict.UNDECIDED
        assert bench.image.result.reason is Reason.ABORTED
    if "FORGET_RECIPE" in row.effect.name or row.effect is Effect.PREPARE_RECIPE:
        assert bench.image.recipe == 0


def test_an_autostart_passes_to_ready_without_a_command():
    row = next(row for row in TRANSITIONS if row.cause is Occurrence.AUTOSTART)
    bench = bench_at(row)
    assert bench.image.state is State.INITIALIZED
    bench.hear(RecipePrepared(1))
    assert (bench.image.state, bench.image.recipe, bench.image.ready) == (State.READY, 1, True)


def refused():
    allowed = {(row.source, row.cause) for row in TRANSITIONS}
    return [
        pytest.param(state, command, id=f"{state.name}-{command.name}")
        for state in State
        for command in Command
        if (state, command) not in allowed and command not in ANYWHERE
    ]


@pytest.mark.parametrize(("state", "command"), refused())
def test_a_command_that_the_table_does_not_list_is_refused_and_changes_nothing(state, command):
    if state is State.ERROR:
        bench = Bench().be(State.READY)
        bench.hear(SpoolFailed(99, ErrorCode.SPOOL_FULL))
    else:
        bench = Bench().be(state, busy=state is State.SINGLE_EXECUTION)
    before = bench.image
    assert bench.command(command, recipe=2) is CommandResult.REFUSED
    assert (bench.image.state, bench.image.recipe) == (state, before.recipe)
    assert bench.image.busy == before.busy


@pytest.mark.parametrize("code", [12, 99, 65_535])
def test_a_command_that_does_not_exist_is_refused(code):
    assert Bench().command(code) is CommandResult.REFUSED


def test_no_two_rows_contradict_each_other():
    keys = [(row.source, row.cause, row.guard) for row in TRANSITIONS]
    assert len(keys) == len(set(keys))


def test_the_ack_echoes_the_code_until_the_request_is_reset_and_the_command_has_ended():
    bench = Bench().be(State.INITIALIZED)
    bench.write(command=Command.PREPARE_RECIPE, recipe=1)
    assert (bench.image.ack_command, bench.image.command_result) == (2, CommandResult.RUNNING)
    bench.write(command=0)
    assert bench.image.ack_command == 2  # it has not ended
    bench.hear(RecipePrepared(1))
    assert bench.image.command_result is CommandResult.DONE
    bench.write()
    assert bench.image.ack_command == 0


def test_a_command_that_stays_requested_is_not_repeated_and_another_waits_for_its_reset():
    bench = Bench()
    bench.write(command=Command.HALT)
    bench.write(command=Command.HALT)
    assert (bench.image.state, bench.image.ack_command) == (State.HALTED, Command.HALT)
    bench.write(command=Command.RESET)
    assert (bench.image.state, bench.image.ack_command) == (State.HALTED, Command.HALT)
    bench.write(command=0)
    bench.write(command=Command.RESET)
    assert bench.image.state is State.PREOPERATIONAL


def test_a_command_that_is_requested_since_before_the_start_is_ignored():
    bench = Bench.__new__(Bench)
    original = Bench.write
    try:
        Bench.write = lambda self, **bits: original(self, command=Command.HALT, **bits)
        bench.__init__()
    finally:
        Bench.write = original
    assert (bench.image.state, bench.image.ack_command) == (State.PREOPERATIONAL, 0)


def test_an_unknown_recipe_fails_and_no_recipe_is_prepared_any_more():
    bench = Bench().be(State.READY)
    assert bench.command(Command.PREPARE_RECIPE, recipe=9) is CommandResult.FAILED
    assert (bench.image.state, bench.image.recipe) == (State.INITIALIZED, 0)
    assert bench.image.error_code is ErrorCode.UNKNOWN_RECIPE


def test_an_unclean_restart_begins_in_error_with_an_alarm():
    bench = Bench(was_interrupted=True)
    assert bench.image.state is State.ERROR
    assert (bench.image.error, bench.image.error_code) == (True, ErrorCode.UNCLEAN_RESTART)
    assert bench.of_kind(Alarm) == [Alarm(ErrorCode.UNCLEAN_RESTART)]
    assert bench.command(Command.ACKNOWLEDGE_ERROR) is CommandResult.DONE
    assert bench.image.state is State.PREOPERATIONAL


def test_errors_are_acknowledged_one_by_one_and_the_last_fault_ends_the_state_error():
    bench = Bench().be(State.READY)
    bench.hear(SpoolFailed(99, ErrorCode.SPOOL_FULL))
    bench.hear(SpoolFailed(99, ErrorCode.SPOOL_UNWRITABLE))
    bench.hear(SpoolFailed(99, ErrorCode.SPOOL_FULL))
    assert (bench.image.error_count, bench.image.error_code) == (2, ErrorCode.SPOOL_FULL)
    bench.write(clear_error=True)
    bench.write()
    assert (bench.image.error_count, bench.image.state) == (1, State.ERROR)
    bench.write(clear_error=False)
    bench.write(clear_error=True)
    assert (bench.image.error, bench.image.state) == (False, State.READY)
    assert bench.command(Command.ACKNOWLEDGE_ERROR) is CommandResult.REFUSED


def test_a_part_with_the_fail_safe_stop_takes_ready_off_until_somebody_acknowledges():
    bench = Bench().be(State.READY)
    outcome = Outcome(Verdict.UNDECIDED, Reason.SERVICE_AWAY, FailSafe.STOP)
    bench.decide(bench.take_part(), outcome)
    assert (bench.image.ready, bench.image.state) == (False, State.ERROR)
    assert bench.image.error_code is ErrorCode.STOPPED
    assert bench.image.result.fail_safe is FailSafe.STOP
    assert bench.image.results_valid
    bench.acknowledge()
    assert not bench.image.ready
    bench.command(Command.ACKNOWLEDGE_ERROR)
    assert bench.image.ready


def test_the_diagram_shows_each_transition_but_the_faults():
    drawn = draw()
    arrows = [line for line in drawn.splitlines() if "-->" in line]
    assert len(arrows) == 1 + sum(row.cause is not Occurrence.FAULT for row in TRANSITIONS)
    assert "Ready --> SingleExecution: Trigger / start a part" in drawn
