"""The bits of the handshake: trigger, results, buffer, heartbeats, deadlines."""

from dataclasses import replace

import pytest

from service.station.machine import MachineSettings
from service.station.machine.events import (
    Decided,
    Exposed,
    Forget,
    RecipeFailed,
    RecipePrepared,
    Settle,
    SpoolFailed,
    Tell,
    ToldDurable,
    TriggerDurable,
)
from service.station.machine.faults import ErrorCode
from service.station.machine.images import ResultFields
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict
from tests.service.station.machine.bench import NG, OK, SETTINGS, Bench


@pytest.fixture
def bench():
    return Bench().be(State.READY)


def test_a_part_passes_from_trigger_to_acknowledged_result(bench):
    assert bench.image.ready
    bench.write(trigger=True, trigger_number=17, part_id="cell-17")
    (part,) = bench.taken
    assert (part.trigger_number, part.part_id, part.recipe) == (17, "cell-17", 1)
    assert (bench.image.busy, bench.image.ready, bench.image.trigger_ack) == (True, False, False)
    bench.hear(TriggerDurable(part.job))
    assert bench.image.trigger_ack
    bench.write(trigger=False)
    assert not bench.image.trigger_ack
    assert not bench.image.exposure_done
    bench.hear(Exposed(part.job))
    assert bench.image.exposure_done
    bench.hear(Decided(part.job, NG))
    assert bench.told == {part.job: NG}
    assert not bench.image.results_valid
    bench.hear(ToldDurable(part.job, NG))
    expected = ResultFields(Verdict.NG, score=7_500, recipe=1, trigger_number=17, part_id="cell-17")
    assert (bench.image.results_valid, bench.image.result) == (True, expected)
    assert (bench.image.busy, bench.image.ready) == (False, True)
    bench.write(results_ack=True)
    assert not bench.image.results_valid
    assert bench.of_kind(Settle) == [Settle(part.job)]


def test_the_trigger_is_acknowledged_only_when_it_is_durable(bench):
    bench.write(trigger=True)
    for _ in range(3):
        assert not bench.wait(10).trigger_ack
    bench.hear(Decided(1, OK))
    assert not bench.image.trigger_ack
    assert not bench.image.results_valid
    assert bench.of_kind(Tell) == []


def test_the_part_id_is_the_one_at_the_trigger(bench):
    job = bench.take_part(5, "first")
    bench.write(trigger_number=6, part_id="second")
    bench.decide(job)
    assert (bench.image.result.trigger_number, bench.image.result.part_id) == (5, "first")


def test_the_fields_change_while_results_valid_is_off_and_in_one_step(bench):
    for number in range(3):
        bench.inspect_part(number, f"cell-{number}")
    for _ in range(3):
        bench.acknowledge()
    changes = 0
    for before, after in zip(bench.images, bench.images[1:], strict=False):
        if before.result != after.result:
            changes += 1
            assert not before.results_valid
            assert not after.results_valid
    assert changes == 3


@pytest.mark.parametrize("state", [State.PREOPERATIONAL, State.INITIALIZED, State.HALTED])
def test_a_trigger_while_not_ready_is_missed_and_never_queued(state):
    bench = Bench().be(state)
    bench.write(trigger=True)
    assert (bench.image.missed_trigger, bench.image.error_code) == (True, ErrorCode.MISSED_TRIGGER)
    assert bench.taken == []
    bench.write(trigger=False)
    assert bench.image.missed_trigger  # until it is acknowledged
    bench.command(Command.ACKNOWLEDGE_ERROR)
    assert not bench.image.missed_trigger


def test_a_trigger_while_busy_is_missed_and_the_part_in_work_goes_on(bench):
    job = bench.take_part(1, "first")
    bench.write(trigger=True, trigger_number=2, part_id="second")
    assert (bench.image.missed_trigger, bench.image.trigger_ack) == (True, False)
    bench.decide(job)
    assert bench.image.result.part_id == "first"
    assert not bench.image.ready  # the missed Trigger is still on
    bench.write(trigger=False)
    assert bench.image.ready
    assert len(bench.taken) == 1


def test_a_trigger_that_is_dropped_before_its_ack_is_an_error_and_the_part_is_inspected(bench):
    bench.write(trigger=True)
    bench.write(trigger=False)
    bench.hear(TriggerDurable(1))
    assert bench.image.error_code is ErrorCode.TRIGGER_DROPPED
    assert not any(image.trigger_ack for image in bench.images)
    bench.decide(1)
    assert bench.image.results_valid


def test_the_ack_of_a_dropped_trigger_is_not_taken_for_that_of_the_next(bench):
    bench.write(trigger=True, trigger_number=1)
    bench.write(trigger=False)
    bench.write(trigger=True, trigger_number=2)
    assert bench.image.missed_trigger
    bench.hear(TriggerDurable(1))
    assert not bench.image.trigger_ack


def test_a_trigger_that_is_on_since_before_the_start_takes_no_part():
    bench = Bench(replace(SETTINGS, autostart_recipe=1))
    bench.inputs = replace(bench.inputs, trigger=True)
    bench = Bench.__new__(Bench)
    write = Bench.write
    try:
        Bench.write = lambda self, **bits: write(self, trigger=True, **bits)
        bench.__init__(replace(SETTINGS, autostart_recipe=1))
    finally:
        Bench.write = write
    bench.hear(RecipePrepared(1))
    assert (bench.image.state, bench.image.ready) == (State.READY, False)
    assert bench.taken == []
    bench.write(trigger=False)
    bench.write(trigger=True)
    assert len(bench.taken) == 1


def test_results_wait_in_order_and_a_full_buffer_takes_ready_off(bench):
    for number in range(8):
        assert bench.image.ready
        bench.inspect_part(number, f"cell-{number}")
    assert (bench.image.ready, bench.image.buffered) == (False, 8)
    bench.write(trigger=True, trigger_number=8)
    assert bench.image.missed_trigger
    bench.write(trigger=False)
    seen = []
    while bench.image.results_valid:
        seen.append(bench.image.result.part_id)
        bench.acknowledge()
    assert seen == [f"cell-{number}" for number in range(8)]
    assert bench.image.ready


def test_without_a_buffer_the_newest_result_stands(bench):
    bench.write(buffer_enable=False)
    jobs = [bench.inspect_part(number, f"cell-{number}") for number in range(10)]
    assert (bench.image.result.part_id, bench.image.buffered) == ("cell-9", 1)
    assert bench.of_kind(Settle) == [Settle(job) for job in jobs[:-1]]
    for before, after in zip(bench.images, bench.images[1:], strict=False):
        if before.result != after.result:
            assert not before.results_valid
            assert not after.results_valid


def test_an_acknowledgement_that_stays_on_takes_only_one_result(bench):
    for number in range(3):
        bench.inspect_part(number)
    bench.write(results_ack=True)
    bench.wait(10)
    assert (bench.image.results_valid, bench.image.buffered) == (False, 2)
    bench.write(results_ack=False)
    assert (bench.image.results_valid, bench.image.result.trigger_number) == (True, 1)


def test_an_acknowledgement_without_a_result_takes_nothing(bench):
    bench.write(results_ack=True)
    job = bench.inspect_part()
    assert (bench.image.results_valid, bench.image.buffered) == (False, 1)
    bench.write(results_ack=False)
    assert bench.image.results_valid
    assert Settle(job) not in bench.actions


def test_the_command_dequeue_result_takes_the_shown_result(bench):
    bench.inspect_part(1)
    bench.inspect_part(2)
    assert bench.command(Command.DEQUEUE_RESULT) is CommandResult.DONE
    assert (bench.image.results_valid, bench.image.result.trigger_number) == (True, 2)
    assert bench.command(Command.DEQUEUE_RESULT) is CommandResult.DONE
    assert bench.command(Command.DEQUEUE_RESULT) is CommandResult.REFUSED


def test_a_result_that_nobody_acknowledges_is_an_overrun_and_stays(bench):
    job = bench.inspect_part()
    assert bench.wake_at_ms <= SETTINGS.ack_timeout_ms
    bench.wait(SETTINGS.ack_timeout_ms - 1)
    assert not bench.image.overrun
    bench.wait(1)
    assert (bench.image.overrun, bench.image.error_code) == (True, ErrorCode.OVERRUN)
    assert bench.image.results_valid
    assert job in bench.told
    bench.command(Command.ACKNOWLEDGE_ERROR)
    bench.wait(60_000)
    assert not bench.image.overrun  # one alarm a result
    bench.acknowledge()
    assert bench.of_kind(Settle) == [Settle(job)]


def test_trigger_enable_off_clears_the_handshake_but_neither_errors_nor_results(bench):
    bench.inspect_part(1)
    bench.take_part(2)
    bench.write(trigger=True)  # is missed
    bench.write(trigger_enable=False)
    image = bench.image
    assert not any(
        (image.ready, image.trigger_ack, image.busy, image.exposure_done, image.results_valid)
    )
    assert not any((image.missed_trigger, image.overrun))
    assert (image.online, image.error_code) == (True, ErrorCode.MISSED_TRIGGER)
    bench.decide(2)
    assert not bench.image.results_valid
    bench.write(trigger_enable=True, trigger=False)
    assert (bench.image.results_valid, bench.image.result.trigger_number) == (True, 1)
    bench.acknowledge()
    assert bench.image.result.trigger_number == 2


def test_after_the_deadline_a_part_is_undecided_and_a_late_decision_changes_nothing(bench):
    job = bench.take_part()
    assert bench.wake_at_ms <= bench.taken[0].deadline_ms == 950
    bench.wait(949)
    assert not bench.image.results_valid
    bench.wait(1)
    assert (bench.image.results_valid, bench.image.busy) == (True, False)
    result = bench.image.result
    assert (result.verdict, result.reason) == (Verdict.UNDECIDED, Reason.DEADLINE)
    assert result.fail_safe is FailSafe.NG
    bench.decide(job, OK)
    assert bench.image.result == result
    assert bench.told[job].verdict is Verdict.UNDECIDED


def test_a_late_decision_is_not_shown_with_the_next_part(bench):
    first = bench.take_part(1, "first")
    bench.wait(950)
    bench.acknowledge()
    second = bench.take_part(2, "second")
    bench.hear(Decided(first, OK))
    bench.hear(ToldDurable(first, OK))
    assert not bench.image.results_valid
    bench.decide(second, NG)
    assert (bench.image.result.part_id, bench.image.result.verdict) == ("second", Verdict.NG)


def test_a_decision_that_the_spool_has_not_by_the_deadline_becomes_undecided(bench):
    job = bench.take_part()
    bench.hear(Decided(job, OK))
    bench.wait(950)
    assert not bench.image.results_valid  # the spool may have OK, and a power cut would show it
    bench.hear(ToldDurable(job, OK))
    assert not bench.image.results_valid
    bench.hear(ToldDurable(job, bench.told[job]))
    assert (bench.image.result.verdict, bench.image.results_valid) == (Verdict.UNDECIDED, True)


def test_an_undecided_part_is_shown_before_the_spool_has_its_outcome(bench):
    job = bench.take_part()
    bench.hear(Decided(job, Outcome(Verdict.INPUT_PROBLEM, Reason.IMAGE_BLACK)))
    assert bench.image.results_valid
    assert bench.image.result.verdict is Verdict.INPUT_PROBLEM


def test_a_part_whose_trigger_cannot_be_written_was_never_taken(bench):
    bench.write(trigger=True)
    bench.hear(SpoolFailed(1, ErrorCode.SPOOL_FULL))
    assert (bench.image.state, bench.image.busy) == (State.ERROR, False)
    assert not bench.image.trigger_ack
    assert bench.of_kind(Forget) == [Forget(1)]
    assert bench.image.buffered == 0


def test_a_decision_that_cannot_be_written_is_not_shown(bench):
    job = bench.take_part()
    bench.hear(Decided(job, OK))
    bench.hear(SpoolFailed(job, ErrorCode.SPOOL_UNWRITABLE))
    assert bench.image.state is State.ERROR
    assert (bench.image.results_valid, bench.image.result.verdict) == (True, Verdict.UNDECIDED)


def test_a_single_job_can_be_commanded_and_ends_when_its_trigger_is_durable(bench):
    bench.write(command=Command.START_SINGLE_JOB, trigger_number=3)
    assert bench.image.command_result is CommandResult.RUNNING
    bench.hear(TriggerDurable(1))
    assert (bench.image.command_result, bench.image.trigger_ack) == (CommandResult.DONE, False)
    bench.decide(1)
    assert (bench.image.result.trigger_number, bench.image.state) == (3, State.READY)


def test_a_single_job_whose_trigger_cannot_be_written_fails(bench):
    bench.write(command=Command.START_SINGLE_JOB)
    bench.hear(SpoolFailed(1, ErrorCode.SPOOL_UNWRITABLE))
    assert bench.image.command_result is CommandResult.FAILED


def test_an_aborted_part_whose_trigger_is_not_durable_is_shown_once_it_is(bench):
    bench.write(trigger=True)
    bench.command(Command.ABORT)
    assert (bench.image.state, bench.image.busy, bench.image.ready) == (State.READY, True, False)
    bench.hear(TriggerDurable(1))
    assert (bench.image.results_valid, bench.image.result.reason) == (True, Reason.ABORTED)


def test_ready_needs_the_heartbeat_of_the_plc():
    bench = Bench(replace(SETTINGS, plc_timeout_ms=300)).be(State.READY)
    assert not bench.image.ready
    bench.write(heartbeat=1)
    assert bench.image.ready
    assert bench.wake_at_ms == 300
    bench.wait(300)
    assert not bench.image.ready
    bench.write(trigger=True)
    assert bench.image.missed_trigger
    bench.write(trigger=False, heartbeat=0)
    assert bench.image.ready


def test_the_heartbeat_of_the_station_counts_and_wraps():
    bench = Bench()
    assert bench.image.heartbeat == 0
    bench.wait(bench.wake_at_ms)
    assert bench.image.heartbeat == 1
    bench.wait(500.0 * 65_536)
    assert bench.image.heartbeat == 1


def test_results_of_an_earlier_run_are_shown_again_before_new_ones():
    fields = ResultFields(Verdict.NG, trigger_number=4, part_id="old")
    bench = Bench(first_job=10, restored=[(7, fields)])
    assert (bench.image.results_valid, bench.image.result) == (True, fields)
    bench.be(State.READY)
    job = bench.inspect_part(5, "new")
    assert job == 10
    bench.acknowledge()
    assert bench.image.result.part_id == "new"
    assert bench.of_kind(Settle) == [Settle(7)]


def test_a_closing_station_finishes_its_part_and_takes_no_other(bench):
    job = bench.take_part()
    bench.machine.close()
    assert bench.machine.job == job
    bench.decide(job)
    assert bench.machine.job is None
    assert (bench.image.results_valid, bench.image.ready) == (True, False)


def test_an_autostart_tries_again_after_a_failure_and_ends_with_a_command():
    bench = Bench(MachineSettings(recipes=frozenset({1}), autostart_recipe=1))
    bench.hear(RecipeFailed(1))
    assert bench.image.error_code is ErrorCode.RECIPE_FAILED
    assert len(bench.actions) == 2
    bench.wait(2_000)
    assert len(bench.actions) == 3
    bench.command(Command.HALT)
    bench.hear(RecipePrepared(1))
    bench.command(Command.RESET)
    bench.wait(10_000)
    assert (bench.image.state, bench.image.recipe) == (State.PREOPERATIONAL, 0)
