"""The names of transitions, against the NodeSet and the table of the machine."""

import re

import pytest

from service.station.machine.states import TRANSITIONS as TABLE
from service.station.machine.states import Command, Occurrence, State
from service.station.plc.opcua.states import TRANSITIONS, transition_name
from service.station.plc.opcua.vision import NODESET

UNNAMED = {
    (State.CONTINUOUS_EXECUTION, State.SINGLE_EXECUTION),
    (State.HALTED, State.ERROR),
}
"""Changes that OPC 40100-1 does not have."""


def test_every_transition_is_that_node_of_the_nodeset():
    text = NODESET.read_text("utf-8")
    nodes = dict(re.findall(r'<UAObject NodeId="ns=1;i=(\d+)" BrowseName="1:(\w+To\w+)"', text))
    for name, number in TRANSITIONS.items():
        assert nodes[str(number)] == name


@pytest.mark.parametrize("transition", TABLE, ids=lambda t: f"{t.source.name}-{t.cause.name}")
def test_every_change_of_the_machine_has_a_name(transition):
    if transition.source is transition.target:
        return
    command = transition.cause if isinstance(transition.cause, Command) else 0
    name = transition_name(transition.source, transition.target, command)
    pair = transition.source, transition.target
    assert (name == "") == (pair in UNNAMED)
    if transition.cause is Command.ABORT:
        assert name.endswith("ToReadyAbort")
    if transition.cause in (Occurrence.FAULT, Occurrence.RECOVERED, Occurrence.AUTOSTART) and name:
        assert name.endswith("Auto")


def test_a_recipe_that_is_prepared_by_a_command_is_no_autostart():
    pair = State.INITIALIZED, State.READY
    assert transition_name(*pair, Command.PREPARE_RECIPE) == "InitializedToReadyRecipe"
    assert transition_name(*pair, 0) == "InitializedToReadyAuto"
    assert transition_name(State.READY, State.INITIALIZED, Command.UNPREPARE_RECIPE) == (
        "ReadyToInitializedRecipe"
    )
