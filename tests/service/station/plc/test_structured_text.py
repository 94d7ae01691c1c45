"""The function block for PLCs: parsed by blark, and run against a real machine."""

import random

import pytest

from service.station.machine import Machine
from service.station.machine.events import (
    Decided,
    Exposed,
    PrepareRecipe,
    RecipePrepared,
    TakePart,
    Tell,
    ToldDurable,
    TriggerDurable,
)
from service.station.machine.images import PlcImage, ResultFields, StationImage
from service.station.machine.states import Command
from service.station.machine.verdicts import Outcome, Reason, Verdict
from service.station.plc.layout import (
    PLC_WRITES,
    STATION_WRITES,
    WordOrder,
    decode_plc,
    encode,
)
from service.station.plc.modbus_map import INPUTS, Places
from service.station.plc.structured_text import function_block
from tests.service.station.machine.bench import SETTINGS
from tests.service.station.plc.st_interpreter import FunctionBlock

OK = Outcome(Verdict.OK, score=0.25)
NG = Outcome(Verdict.NG, score=0.75)
CYCLE_S = 0.01


@pytest.fixture(scope="module")
def source():
    return function_block(Places(), WordOrder.BIG)


def text(part_id):
    return list(part_id.encode("latin-1").ljust(32, b"\0"))


class Plc:
    """A PLC that calls the block in each cycle, at a machine whose spool answers at once.

    While `is_cut`, the registers stand still. `outcome` is that of the next part; None: it waits.
    """

    def __init__(self, source, order=WordOrder.BIG):
        self.now_s = 1.0
        self.block = FunctionBlock(source, "FB_MambaadStation", lambda: self.now_s)
        self.order = order
        self.machine = Machine(SETTINGS)
        self.registers = encode(StationImage(), STATION_WRITES, order)
        self.written = [0] * INPUTS
        self.image = StationImage()
        self.is_cut = False
        self.outcome = OK
        self.parts = []
        self.inputs = {"Enable": True}

    def __getattr__(self, name):
        return self.block.values[name]

    def cycle(self, count=1, **inputs):
        self.inputs.update(inputs)
        for _ in range(count):
            self.now_s += CYCLE_S
            if not self.is_cut:
                self._step(decode_plc(self.written, self.order))
                self.registers = encode(self.image, STATION_WRITES, self.order)
            self.block.call(FromStation=self.registers, ToStation=self.written, **self.inputs)
        return self

    def until(self, condition, **inputs):
        for _ in range(1_000):
            if condition():
                return
            self.cycle(**inputs)
        raise AssertionError(self.block.values)

    def command(self, command, recipe=0):
        self.until(lambda: self.Station["AckCommand"] == command, Command=command, Recipe=recipe)
        self.until(lambda: self.Station["AckCommand"] == 0, Command=0)

    def prepare(self):
        self.command(Command.SELECT_MODE_AUTOMATIC)
        self.command(Command.PREPARE_RECIPE, 1)
        self.until(lambda: self.CanStart)
        return self

    def inspect(self, part_id):
        self.cycle(PartId=text(part_id), Start=True)
        self.cycle(Start=False)
        self.until(lambda: self.Done)
        return self

    def _step(self, inputs, event=None):
        step = self.machine.step(inputs, self.now_s * 1_000, event)
        self.image = step.image
        for action in step.actions:
            match action:
                case PrepareRecipe():
                    self._step(inputs, RecipePrepared(action.recipe))
                case TakePart():
                    self.parts.append(action)
                    self._step(inputs, TriggerDurable(action.job))
                    self._step(inputs, Exposed(action.job))
                    if self.outcome is not None:
                        self._step(inputs, Decided(action.job, self.outcome))
                case Tell():
                    self._step(inputs, ToldDurable(action.job, action.outcome))


@pytest.mark.parametrize(
    "order", [WordOrder.BIG, pytest.param(WordOrder.LITTLE, marks=pytest.mark.long)]
)
def test_parts_go_through_the_handshake_and_only_verdict_1_is_ok(order):
    plc = Plc(function_block(Places(), order), order).prepare()
    plc.block.values["Number"] = 70_000
    for outcome in (OK, NG, OK, Outcome(Verdict.UNDECIDED, Reason.CAMERA_SILENT)):
        plc.outcome = outcome
        plc.until(lambda: plc.CanStart)
        plc.inspect(f"cell {len(plc.parts)}")
        assert plc.Ok is (outcome is OK)
        assert (plc.Verdict, plc.Reason) == (outcome.verdict, outcome.reason)
        assert not (plc.TimedOut or plc.Refused)
    numbers = [(part.trigger_number, part.part_id) for part in plc.parts]
    assert numbers == [(70_001 + n, f"cell {n}") for n in range(4)]
    plc.cycle(10)
    assert not (plc.Busy or plc.image.error or plc.image.buffered)


def test_the_other_word_order_swaps_the_words_of_the_numbers_alone(source):
    little = function_block(Places(), WordOrder.LITTLE)
    swapped = little.replace("low word first", "high word first")
    for first, second in (("FromStation[15]", "FromStation[16]"), ("ToStation[4]", "ToStation[5]")):
        assert swapped.count(first) == swapped.count(second) == 1
        swapped = swapped.replace(first, "\0").replace(second, first).replace("\0", second)
    assert little != source
    assert sorted(swapped.splitlines()) == sorted(source.splitlines())


def test_a_part_without_a_result_in_time_is_not_ok_whatever_comes_later(source):
    plc = Plc(source).prepare()
    plc.outcome = None
    plc.inputs["TimeLimit"] = 0.5
    plc.inspect("slow")
    assert (plc.Done, plc.Ok, plc.TimedOut, plc.Busy) == (True, False, True, False)
    job = plc.parts[0].job
    plc._step(decode_plc(plc.written, plc.order), Decided(job, OK))
    plc.outcome = NG
    plc.until(lambda: plc.CanStart)
    assert (plc.Ok, plc.Verdict) == (False, 0)
    assert plc.image.buffered == 0  # it was acknowledged
    plc.inspect("next")
    assert (plc.Ok, plc.Verdict, plc.TimedOut) == (False, Verdict.NG, False)


def test_a_start_while_a_part_is_in_work_makes_both_parts_not_ok(source):
    plc = Plc(source).prepare()
    plc.outcome = None
    plc.cycle(Start=True, PartId=text("first")).cycle(3, Start=False)
    plc.cycle(Start=True, PartId=text("second"))
    assert (plc.Refused, plc.Done, plc.Ok) == (True, True, False)
    plc.cycle(Start=False)
    plc._step(decode_plc(plc.written, plc.order), Decided(plc.parts[0].job, OK))
    plc.until(lambda: plc.CanStart)
    assert (plc.Refused, plc.Done, plc.Ok) == (True, True, False)
    plc.outcome = OK
    assert plc.inspect("third").Ok
    assert [part.part_id for part in plc.parts] == ["first", "third"]


def test_a_start_before_the_station_is_ready_is_refused(source):
    plc = Plc(source)
    plc.cycle(Start=True)
    assert (plc.Refused, plc.Done, plc.Ok) == (True, True, False)
    plc.cycle(5, Start=True)  # it is held: no new edge
    assert plc.parts == []


def test_a_station_whose_registers_stand_still_is_away(source):
    """As with a PLC that is the Modbus server: Ready and ResultsValid stay as they were."""
    plc = Plc(source).prepare()
    plc.is_cut = True
    plc.cycle(int(0.9 / CYCLE_S), HeartbeatLimit=0.8)
    assert plc.image.ready
    assert not (plc.StationAlive or plc.CanStart)
    plc.is_cut = False
    plc.until(lambda: plc.CanStart)
    assert plc.inspect("after").Ok


def test_a_station_that_goes_away_with_a_part_ends_it_as_not_ok(source):
    plc = Plc(source).prepare()
    plc.outcome = None
    plc.cycle(Start=True, PartId=text("cut")).cycle(3, Start=False)
    plc.is_cut = True
    plc.until(lambda: plc.Done, HeartbeatLimit=0.8)
    assert (plc.Ok, plc.TimedOut) == (False, True)


def test_a_result_of_another_part_is_acknowledged_and_not_taken(source):
    plc = Plc(source).prepare()
    plc.outcome = None
    plc.cycle(Start=True, PartId=text("mine")).cycle(5, Start=False)
    for number, part_id in ((plc.Number, "other"), (plc.Number + 1, "mine"), (0, "")):
        result = ResultFields(Verdict.OK, trigger_number=number, part_id=part_id)
        plc.registers = encode(
            StationImage(results_valid=True, heartbeat=1, result=result),
            STATION_WRITES, plc.order,
        )  # fmt: skip
        plc.is_cut = True
        plc.cycle(2)
        assert decode_plc(plc.written, plc.order).results_ack
        assert (plc.Done, plc.Ok, plc.Awaited) == (False, False, True)
        plc.registers = encode(StationImage(heartbeat=2), STATION_WRITES, plc.order)
        plc.cycle(2)
        assert not decode_plc(plc.written, plc.order).results_ack


def test_an_error_is_cleared_by_the_input(source):
    plc = Plc(source).prepare()
    plc.command(Command.PREPARE_RECIPE, 9)
    assert plc.Station["Error"]
    plc.cycle(3, ClearError=True)
    assert not plc.Station["Error"]


def test_rubbish_in_the_stations_registers_makes_no_part_ok(source):
    dice = random.Random(3)
    plc = Plc(source).prepare()
    plc.outcome = None
    plc.cycle(Start=True, PartId=text("mine")).cycle(3, Start=False)
    plc.is_cut = True
    for _ in range(300):
        plc.registers = [dice.choice([0, 1, 2, dice.randrange(2**16)]) for _ in plc.registers]
        plc.cycle()
        assert not plc.Ok


def test_what_it_writes_is_what_the_station_reads(source):
    plc = Plc(source).prepare()
    plc.outcome = None
    name = "é" * 31 + "!"
    plc.cycle(Start=True, PartId=text(name))
    image = decode_plc(plc.written, plc.order)
    assert image == PlcImage(
        trigger_enable=True, trigger=True, buffer_enable=True, heartbeat=image.heartbeat,
        recipe=1, trigger_number=1, part_id=name,
    )  # fmt: skip
    assert encode(image, PLC_WRITES, plc.order) == plc.written
