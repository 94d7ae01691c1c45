"""Scripts of the simulated PLC at a real machine, over both kinds of Modbus door."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from service.station.machine.faults import ErrorCode
from service.station.machine.states import State
from service.station.simulating.links import ClientLink
from service.station.simulating.playing import StepFailed, play
from service.station.simulating.steps import read_script
from tests.service.station.simulating.line import SETTINGS, playing

READY = """\
set TriggerEnable BufferEnable
command SelectModeAutomatic
command PrepareRecipe 1
wait Ready
"""
ROLES = pytest.mark.parametrize("role", ["client", "server"])


def perform(tmp_path, role, script, settings=SETTINGS):
    """Play a script to its end; return the line and all that was said."""
    path = tmp_path / "script.txt"
    path.write_text(script, "utf-8")

    async def work():
        async with asyncio.timeout(30), playing(role, settings) as (line, player, said):
            await play(read_script(path), player, path, said.append)
            return line, said

    return asyncio.run(work())


@ROLES
def test_parts_from_trigger_to_acknowledged_result(tmp_path, role):
    line, said = perform(tmp_path, role, READY + "part cell-1\npart 'cell 2'\npart\n")
    assert line.taken == [(1, "cell-1"), (2, "cell 2"), (3, "part-3")]
    results = [text.strip() for text in said if "result of" in text]
    assert results == [
        f"result of {number} '{part_id}': Verdict=OK Reason=NONE FailSafe=NONE Score=2500"
        for number, part_id in line.taken
    ]


@ROLES
def test_a_trigger_that_is_dropped_early_is_an_error_and_its_part_is_inspected(tmp_path, role):
    script = (
        READY
        + """\
set Trigger TriggerNumber=7 PartId=early
wait Busy                # the station has seen it
clear Trigger
wait Error ErrorCode=TriggerDropped
expect not TriggerAck
wait ResultsValid ResultTriggerNumber=7 ResultPartId=early
ack
set ClearError
wait not Error
clear ClearError
part
expect Verdict=OK not Error
"""
    )
    line, _ = perform(tmp_path, role, script)
    assert line.taken == [(7, "early"), (8, "part-8")]


@ROLES
def test_a_result_that_is_never_acknowledged_is_an_overrun_and_stays(tmp_path, role):
    script = (
        READY
        + """\
trigger slow
wait ResultsValid
wait Overrun ErrorCode=Overrun within 10s
expect ResultsValid ResultPartId=slow Buffered=1
wait Ready                          # the buffer has room
trigger next
wait Buffered=2
ack
wait ResultsValid ResultPartId=next
ack
wait Buffered=0
"""
    )
    line, _ = perform(tmp_path, role, script, replace(SETTINGS, ack_timeout_ms=300))
    assert line.taken == [(1, "slow"), (2, "next")]


@ROLES
def test_a_result_that_is_acknowledged_twice_takes_no_other_result_away(tmp_path, role):
    script = (
        READY
        + """\
trigger first
wait ResultsValid
trigger second
wait Buffered=2
set ResultsAck
wait not ResultsValid
clear ResultsAck
set ResultsAck                      # again, while no result is shown or the next has just come
clear ResultsAck
wait ResultsValid ResultPartId=second
expect Verdict=OK Buffered=1
ack
wait Buffered=0
"""
    )
    if role == "client":  # each write is heard: the second one may meet the second result
        script = script.replace("clear ResultsAck\nset ResultsAck ", "set ResultsAck ")
    line, _ = perform(tmp_path, role, script)
    assert line.taken == [(1, "first"), (2, "second")]


@ROLES
def test_a_restart_in_the_middle_of_a_handshake_loses_no_result(tmp_path, role):
    script = (
        READY
        + """\
trigger before
wait ResultsValid
restart 100ms
set TriggerEnable BufferEnable
wait ResultsValid ResultPartId=before within 20s
ack
disconnect 50ms
clear TriggerEnable
wait not Ready           # now the station is back: a PLC that is the server has the old bits
set TriggerEnable
part after within 20s
"""
    )
    line, _ = perform(tmp_path, role, script)
    assert line.taken == [(1, "before"), (2, "after")]


@ROLES
def test_a_command_that_is_held_while_the_connection_is_cut_runs_once(tmp_path, role):
    script = (
        READY
        + """\
set ReqCommand=StartContinuous
wait AckCommand=StartContinuous State=ContinuousExecution
set ReqCommand=0
wait AckCommand=0
set ReqCommand=Stop
wait AckCommand=Stop CommandResult=Done State=Ready
disconnect 100ms
clear TriggerEnable
wait not Ready           # now the station is back: a PLC that is the server has the old bits
set TriggerEnable
wait Ready within 20s
expect AckCommand=Stop CommandResult=Done
set ReqCommand=0
wait AckCommand=0
command StartContinuous
command PrepareRecipe 1 expect Refused
"""
    )
    line, _ = perform(tmp_path, role, script)
    assert line.image.state is State.CONTINUOUS_EXECUTION


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("wait Busy within 50ms", r"line 6: wait Busy within 50ms: not within 0.05 s; .* Ready"),
        ("expect not Ready", "line 6: expect not Ready: got Ready; the station shows Online"),
        ("command Halt expect Refused", "got CommandResult=DONE, expected CommandResult=REFUSED"),
        ("expose", "there is no simulated camera: start with --images FOLDER"),
        ("set ReqRecipe=9\ncommand PrepareRecipe 9", "line 7: .* got CommandResult=FAILED"),
    ],
)
def test_a_step_that_fails_is_named_with_its_line_and_what_the_station_shows(
    tmp_path, step, message
):
    with pytest.raises(StepFailed, match=message):
        perform(tmp_path, "client", f"# a comment\n{READY}{step}\n")


def test_a_heartbeat_that_stands_still_is_seen(tmp_path):
    async def work():
        async with asyncio.timeout(20), playing("client") as (line, player, _):
            while line.inputs.heartbeat < 5:
                await asyncio.sleep(0.01)
            script = tmp_path / "script.txt"
            script.write_text("heartbeat off\nset TriggerEnable\n", "utf-8")
            await play(read_script(script), player, script, lambda text: None)
            beat = line.inputs.heartbeat
            await asyncio.sleep(0.1)
            assert (line.inputs.trigger_enable, line.inputs.heartbeat) == (True, beat)

    asyncio.run(work())


def test_a_player_ends_though_a_request_swallows_the_cancellation(monkeypatch):
    async def swallow(link, image):
        with suppress(asyncio.CancelledError):  # as wait_for does if the answer came just then
            await asyncio.sleep(10)

    async def work():
        monkeypatch.setattr(ClientLink, "write", swallow)
        async with asyncio.timeout(20), playing("client"):
            await asyncio.sleep(0.05)

    asyncio.run(work())


def test_a_missed_trigger_is_latched(tmp_path):
    script = "set TriggerEnable\nset Trigger TriggerNumber=1\nwait MissedTrigger Error\n"
    line, _ = perform(tmp_path, "client", script)
    assert line.image.error_code is ErrorCode.MISSED_TRIGGER
    assert line.taken == []


@ROLES
def test_show_prints_a_code_0_as_none_in_capitals(tmp_path, role):
    _, said = perform(tmp_path, role, READY + "show\n")
    lines = {text.strip() for text in said}
    assert {"ErrorCode=NONE", "AckCommand=NONE", "PLC: ReqCommand=NONE"} <= lines
