"""The language of the simulated PLC."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from service.station.machine.states import Command, CommandResult
from service.station.machine.verdicts import Reason, Verdict
from service.station.plc.layout import PLC_WRITES, STATION_WRITES
from service.station.simulating.actions import (
    HELP,
    Beat,
    Disconnect,
    Expect,
    Give,
    Pause,
    TakeResult,
    TriggerPart,
    Wait,
    Write,
)
from service.station.simulating.steps import VERBS, ScriptInvalid, parse, read_script
from service.station.simulating.values import Condition, NotUnderstood


def written(line):
    action = parse(line)
    assert isinstance(action, Write)
    return {field.name: value for field, value in action.values}


def test_bits_and_registers_are_written_together():
    line = "set Trigger triggerenable=on ResultsAck=0 TriggerNumber=70000 PartId='cell 7' # now"
    assert written(line) == {
        "Trigger": True, "TriggerEnable": True, "ResultsAck": False,
        "TriggerNumber": 70_000, "PartId": "cell 7",
    }  # fmt: skip
    assert written("clear Trigger PartId TriggerNumber") == {
        "Trigger": False, "PartId": "", "TriggerNumber": 0
    }  # fmt: skip
    assert written("set ReqCommand=PrepareRecipe") == {"ReqCommand": Command.PREPARE_RECIPE}


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("wait Ready", Wait((Condition("Ready", value=True),), 10.0)),
        ("wait not Busy within 20ms", Wait((Condition("Busy", value=False),), 0.02)),
        (
            "wait State=Single_Execution Reason!=deadline within 2 min",
            Wait(
                (Condition("State", 6), Condition("Reason", Reason.DEADLINE, is_wanted=False)), 120
            ),
        ),
        (
            "expect Verdict=OK ResultPartId=a",
            Expect((Condition("Verdict", Verdict.OK), Condition("ResultPartId", "a"))),
        ),
        ("pause 1.5s", Pause(1.5)),
        ("command PREPARE_RECIPE 2", Give(2, 2, CommandResult.DONE, 10.0)),
        ("command 99 expect Refused within 1s", Give(99, 0, CommandResult.REFUSED, 1.0)),
        ("trigger", TriggerPart(None, False, 10.0)),
        ("part 'cell 2' within 3s", TriggerPart("cell 2", True, 3.0)),
        ("ack", TakeResult(10.0)),
        ("heartbeat off", Beat(is_on=False)),
        ("disconnect", Disconnect(0.0, forgets=False)),
        ("restart 200ms", Disconnect(0.2, forgets=True)),
        ("  # a comment", None),
        ("", None),
    ],
)
def test_a_line_is_a_step(line, action):
    assert parse(line) == action


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sett Trigger", "'sett' is no step; expected set, clear, wait"),
        ("set", "expected set NAME"),
        ("set Triger", r"'Triger' is nothing that the PLC writes \(did you mean Trigger\?\)"),
        ("set Ready", "'Ready' is nothing that the PLC writes"),
        ("wait Trigger", "'Trigger' is nothing that the station shows"),
        ("set TriggerNumber", "TriggerNumber is no bit: expected TriggerNumber=VALUE"),
        ("set TriggerNumber=4294967296", "at most 4294967295"),
        ("set ReqRecipe=-1", "ReqRecipe is a number, got '-1'"),
        ("set Trigger=2", "Trigger is a bit: expected 0 or 1, got '2'"),
        ("set Trigger Trigger=0", "the same name twice"),
        (f"set PartId={'x' * 33}", "at most 32 characters, got 33"),
        ("part \u0416", "Latin-1"),
        ("wait", "expected a condition"),
        ("wait not", "expected the name of a bit after 'not'"),
        ("wait Verdict", "Verdict is no bit: expected Verdict=VALUE"),
        ("wait State=Redy", r"'Redy' is unknown \(did you mean READY\?\)"),
        ("wait Ready within", "expected a time such as 20ms"),
        ("pause 5", "expected a time such as 20ms, 1.5s or 2min, got '5'"),
        ("command", "expected command NAME"),
        ("command 0", "commands are 1 to 65535"),
        ("command PrepareRecipe one", "expected command NAME"),
        ("heartbeat", "expected heartbeat on or heartbeat off"),
        ("expose now", "expected nothing more, got 'now'"),
        ("part 'cell", "No closing quotation; quote texts"),
    ],
)
def test_an_error_says_what_is_expected(line, message):
    with pytest.raises(NotUnderstood, match=message):
        parse(line)


@given(
    st.text(max_size=60) | st.lists(st.sampled_from([*VERBS, "not", "=", "within"])).map(" ".join)
)
def test_any_text_is_a_step_or_an_error(line):
    try:
        parse(line)
    except NotUnderstood as error:
        assert str(error)


def test_all_errors_of_a_script_are_named_with_their_lines(tmp_path):
    script = tmp_path / "script.txt"
    script.write_text("set Trigger\n\nsett Trigger\n# wait\nwait Redy\n", "utf-8")
    with pytest.raises(ScriptInvalid) as caught:
        read_script(script)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"{script}, line 3", f"{script}, line 5"
    ]  # fmt: skip
    script.write_text("\ufeff\xff", "latin-1", errors="replace")
    with pytest.raises(ScriptInvalid):
        read_script(script)
    script.write_text("# nothing\n", "utf-8")
    with pytest.raises(ScriptInvalid, match="has no steps"):
        read_script(script)
    with pytest.raises(ScriptInvalid, match=r"cannot be read: .*No such file"):
        read_script(tmp_path / "gone.txt")


def test_the_help_names_every_step_and_only_names_that_exist():
    steps = {line.split()[0] for line in HELP.splitlines() if line and line[0].islower()}
    assert steps == set(VERBS)
    assert len({field.name.lower() for field in (*PLC_WRITES, *STATION_WRITES)}) == len(
        (*PLC_WRITES, *STATION_WRITES)
    )
