"""The places of all bits and registers, in both word orders, with any content."""

import csv
from io import StringIO

import hypothesis.strategies as st
import pytest
from hypothesis import given

from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage, ResultFields, StationImage
from service.station.machine.states import CommandResult, State
from service.station.machine.verdicts import FailSafe, Reason, Verdict
from service.station.plc.layout import (
    PLC_WRITES,
    STATION_WRITES,
    Kind,
    WordOrder,
    decode,
    decode_plc,
    encode,
    length,
)
from service.station.plc.modbus_map import INPUTS, OUTPUTS_AT, Places, symbols_csv

WORD = st.integers(0, 0xFFFF)
PART_IDS = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=32)


@given(
    st.builds(
        PlcImage,
        heartbeat=WORD,
        command=WORD,
        recipe=WORD,
        trigger_number=st.integers(0, 2**32 - 1),
        part_id=PART_IDS,
        trigger=st.booleans(),
        clear_error=st.booleans(),
    ),
    st.sampled_from(WordOrder),
)
def test_the_plc_is_understood_as_it_writes(image, order):
    assert decode_plc(encode(image, PLC_WRITES, order), order) == image


@given(st.lists(WORD, min_size=INPUTS, max_size=INPUTS), st.sampled_from(WordOrder))
def test_rubbish_in_every_register_is_read_without_an_error(registers, order):
    decode_plc(registers, order)


def test_the_plc_reads_each_field_at_its_place():
    result = ResultFields(
        Verdict.NG, FailSafe.STOP, Reason.DEADLINE, 1_234, 7, 0x12345678, "cell-17"
    )
    image = StationImage(
        ready=True, error=True, heartbeat=9, state=State.READY, ack_command=4,
        command_result=CommandResult.DONE, error_code=ErrorCode.OVERRUN, error_count=2, recipe=7,
        buffered=3, result=result,
    )  # fmt: skip
    registers = encode(image, STATION_WRITES, WordOrder.BIG)
    assert registers[:14] == [0b1_0000_0011, 9, 5, 4, 1, 8, 2, 7, 3, 0, 2, 3, 1, 1_234]
    assert registers[14:20] == [7, 0x1234, 0x5678, 0x6365, 0x6C6C, 0x2D31]
    little = encode(image, STATION_WRITES, WordOrder.LITTLE)
    assert little[15:17] == [0x5678, 0x1234]


@pytest.mark.parametrize("fields", [PLC_WRITES, STATION_WRITES])
def test_no_two_fields_share_a_place(fields):
    taken = set()
    for field in fields:
        for register in range(field.offset, field.offset + field.kind.registers):
            place = (register, field.bit) if field.kind is Kind.BIT else (register, "all")
            assert place not in taken
            taken.add(place)
    words = {register for register, bit in taken if bit == "all"}
    assert words.isdisjoint({register for register, bit in taken if bit != "all"})


def test_one_request_reads_or_writes_a_block():
    assert length(PLC_WRITES) <= 123
    assert length(STATION_WRITES) <= 125
    assert INPUTS <= OUTPUTS_AT


def test_a_text_that_is_too_long_is_cut_and_one_of_another_alphabet_is_marked():
    fields = [field for field in PLC_WRITES if field.kind is Kind.TEXT]
    registers = encode(PlcImage(part_id="\u0416" + "x" * 40), PLC_WRITES, WordOrder.BIG)
    assert decode(registers, fields[0], WordOrder.BIG) == "?" + "x" * 31


def test_the_symbols_name_every_field_with_both_addresses():
    rows = list(csv.DictReader(StringIO(symbols_csv(Places()))))
    assert len(rows) == len(PLC_WRITES) + len(STATION_WRITES)
    by_name = {row["name"]: row for row in rows}
    assert len(by_name) == len(rows)
    assert by_name["Trigger"]["bit"] == "1"
    verdict = by_name["Verdict"]
    assert (verdict["address_from_0"], verdict["address_from_1"]) == ("110", "400111")
    assert verdict["written_by"] == "station"


def test_the_symbols_have_the_addresses_of_the_plc():
    rows = csv.DictReader(StringIO(symbols_csv(Places(inputs_at=200, outputs_at=40))))
    addresses = {row["name"]: row["address_from_0"] for row in rows}
    assert (addresses["Trigger"], addresses["PartId"]) == ("200", "206")
    assert (addresses["Online"], addresses["Verdict"]) == ("40", "50")
