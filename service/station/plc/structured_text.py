"""A function block in IEC 61131-3 structured text, which plays the PLC's side of the handshake.

    print(function_block(Places(inputs_at=0, outputs_at=100), WordOrder.BIG))

The logic is in `function_block.st`; registers and codes come from the layout. Only operators,
conversions and timers of the standard are used: a text is an array of bytes, because not every PLC
can index a STRING.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from string import Template
from textwrap import wrap

from service.station.machine.faults import ErrorCode
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import FailSafe, Reason, Verdict
from service.station.plc.layout import (
    PART_ID_CHARACTERS,
    PLC_WRITES,
    STATION_WRITES,
    Field,
    Kind,
    WordOrder,
)
from service.station.plc.modbus_map import INPUTS, OUTPUTS, Places

_TEMPLATE = Path(__file__).with_name("function_block.st")
_TYPES = {
    Kind.BIT: "BOOL",
    Kind.WORD: "UINT",
    Kind.DOUBLE_WORD: "UDINT",
    Kind.TEXT: f"ARRAY[0..{PART_ID_CHARACTERS - 1}] OF BYTE",
}
_CODES: dict[str, type[IntEnum]] = {
    "State": State,
    "ReqCommand": Command,
    "CommandResult": CommandResult,
    "ErrorCode": ErrorCode,
    "Verdict": Verdict,
    "FailSafe": FailSafe,
    "Reason": Reason,
}


def function_block(places: Places, order: WordOrder) -> str:
    """Return the types and the function block."""
    return Template(_TEMPLATE.read_text("utf-8")).substitute(
        places=_places(places, order),
        types=_struct("ST_MambaadFromStation", STATION_WRITES)
        + _struct("ST_MambaadToStation", PLC_WRITES),
        read=_lines(line for field in STATION_WRITES for line in _read(field, order)),
        write=_lines(_write_all(order)),
        last_character=PART_ID_CHARACTERS - 1,
        last_input=INPUTS - 1,
        last_output=OUTPUTS - 1,
        ok=Verdict.OK.value,
        codes=_all_codes(),
    )


def _places(places: Places, order: WordOrder) -> str:
    first = "high" if order is WordOrder.BIG else "low"
    return (
        f"FromStation: holding registers {places.outputs_at} to {places.outputs_at + OUTPUTS - 1}, "
        f"counted from 0.\n"
        f"   ToStation: holding registers {places.inputs_at} to {places.inputs_at + INPUTS - 1}.\n"
        f"   Numbers of 32 bits have the {first} word first.\n"
    )


def _struct(name: str, fields: Sequence[Field]) -> str:
    members = "".join(
        f"    {f'{field.name} : {_TYPES[field.kind]};':48}(* {field.meaning} *)\n"
        for field in fields
    )
    return f"TYPE {name} :\nSTRUCT\n{members}END_STRUCT\nEND_TYPE\n\n"


def _read(field: Field, order: WordOrder) -> list[str]:
    at, target = field.offset, f"Station.{field.name}"
    if field.kind is Kind.BIT:
        return [f"{target} := (FromStation[{at}] AND {_mask(field)}) <> WORD#16#0000;"]
    if field.kind is Kind.WORD:
        return [f"{target} := WORD_TO_UINT(FromStation[{at}]);"]
    if field.kind is Kind.DOUBLE_WORD:
        high, low = (at, at + 1) if order is WordOrder.BIG else (at + 1, at)
        return [
            f"{target} := DWORD_TO_UDINT(SHL(WORD_TO_DWORD(FromStation[{high}]), 16)",
            f"    OR WORD_TO_DWORD(FromStation[{low}]));",
        ]
    return [
        f"FOR I := 0 TO {field.kind.registers - 1} DO",
        f"    {target}[2 * I] := WORD_TO_BYTE(SHR(FromStation[{at} + I], 8));",
        f"    {target}[2 * I + 1] := WORD_TO_BYTE(FromStation[{at} + I] AND WORD#16#00FF);",
        "END_FOR",
    ]


def _write_all(order: WordOrder) -> list[str]:
    """Return the statements that write, the bits last and in one assignment."""
    bits = [field for field in PLC_WRITES if field.kind is Kind.BIT]
    (at,) = {field.offset for field in bits}
    lines = [line for field in PLC_WRITES if field not in bits for line in _write(field, order)]
    lines.append("Bits := WORD#16#0000;")
    for field in bits:
        lines += [f"IF Out.{field.name} THEN", f"    Bits := Bits OR {_mask(field)};", "END_IF"]
    return [*lines, f"ToStation[{at}] := Bits;"]


def _write(field: Field, order: WordOrder) -> list[str]:
    at, source = field.offset, f"Out.{field.name}"
    if field.kind is Kind.WORD:
        return [f"ToStation[{at}] := UINT_TO_WORD({source});"]
    if field.kind is Kind.DOUBLE_WORD:
        high, low = (at, at + 1) if order is WordOrder.BIG else (at + 1, at)
        return [
            f"ToStation[{high}] := DWORD_TO_WORD(SHR(UDINT_TO_DWORD({source}), 16));",
            f"ToStation[{low}] := DWORD_TO_WORD(UDINT_TO_DWORD({source}) AND DWORD#16#0000FFFF);",
        ]
    return [
        f"FOR I := 0 TO {field.kind.registers - 1} DO",
        f"    ToStation[{at} + I] := SHL(BYTE_TO_WORD({source}[2 * I]), 8)",
        f"        OR BYTE_TO_WORD({source}[2 * I + 1]);",
        "END_FOR",
    ]


def _mask(field: Field) -> str:
    return f"WORD#16#{1 << field.bit:04X}"


def _all_codes() -> str:
    """Return the codes of all registers that have some, in lines of a comment."""
    lines = []
    for name, codes in _CODES.items():
        values = ", ".join(f"{code.value} {code.name.replace('_', ' ')}" for code in codes)
        lines += wrap(f"{name}: {values}.", width=100, subsequent_indent="  ")
    return "\n   ".join(lines)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
