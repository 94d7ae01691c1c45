"""Every bit and register: its place, its type, and what it means.

    encode(StationImage(ready=True), STATION_WRITES, WordOrder.BIG)
    decode_plc([0b11, 0, 0, ...], WordOrder.BIG).trigger

Offsets count registers from 0. Texts have two Latin-1 characters in a register, the first one in
its high byte, and end at a zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from service.station.machine.images import PlcImage, StationImage

PART_ID_CHARACTERS = 32
_TEXT_REGISTERS = PART_ID_CHARACTERS // 2
_WORD = 0xFFFF


class WordOrder(StrEnum):
    """Which word of a 32-bit number has the lower address."""

    BIG = "big"
    LITTLE = "little"


class Kind(Enum):
    """A type, with the number of its registers."""

    BIT = ("BOOL", 1)
    WORD = ("UINT", 1)
    DOUBLE_WORD = ("UDINT", 2)
    TEXT = (f"STRING[{PART_ID_CHARACTERS}]", _TEXT_REGISTERS)

    def __init__(self, type_name: str, registers: int) -> None:
        self.type_name = type_name
        self.registers = registers


@dataclass(frozen=True, slots=True)
class Field:
    """A bit or register; `source` is its attribute in the image."""

    name: str
    source: str
    offset: int
    kind: Kind
    meaning: str
    bit: int = 0

    def value_in(self, image: PlcImage | StationImage) -> Any:  # noqa: ANN401 - bool, int or text
        """Return the field's value in an image."""
        value: Any = image
        for name in self.source.split("."):
            value = getattr(value, name)
        return value


def _bits(offset: int, *rows: tuple[str, str, str]) -> tuple[Field, ...]:
    return tuple(
        Field(name, source, offset, Kind.BIT, meaning, bit)
        for bit, (name, source, meaning) in enumerate(rows)
    )


PLC_WRITES: tuple[Field, ...] = (
    *_bits(
        0,
        ("TriggerEnable", "trigger_enable", "the PLC takes part; off clears the handshake bits"),
        ("Trigger", "trigger", "rising edge: take a part; hold it until TriggerAck"),
        ("ResultsAck", "results_ack", "the PLC has read the result; hold until ResultsValid falls"),
        ("BufferEnable", "buffer_enable", "results wait, up to 8; off: the newest stands"),
        ("ClearError", "clear_error", "rising edge: acknowledge the oldest error"),
    ),
    Field("PlcHeartbeat", "heartbeat", 1, Kind.WORD, "a counter that the PLC changes"),
    Field("ReqCommand", "command", 2, Kind.WORD, "command; 0 takes it back"),
    Field("ReqRecipe", "recipe", 3, Kind.WORD, "recipe of the command PrepareRecipe"),
    Field("TriggerNumber", "trigger_number", 4, Kind.DOUBLE_WORD, "the PLC's number of the part"),
    Field("PartId", "part_id", 6, Kind.TEXT, "the PLC's name of the part"),
)
"""What the PLC writes; its first register is the start of the block of inputs."""

STATION_WRITES: tuple[Field, ...] = (
    *_bits(
        0,
        ("Online", "online", "the station runs"),
        ("Ready", "ready", "a Trigger now is taken"),
        ("TriggerAck", "trigger_ack", "the part is taken, and on disk"),
        ("Busy", "busy", "a part is in work"),
        ("ExposureDone", "exposure_done", "the images are taken: the part may move"),
        ("ResultsValid", "results_valid", "the result's registers are those of one part"),
        ("MissedTrigger", "missed_trigger", "a Trigger came while Ready was off"),
        ("Overrun", "overrun", "a result was not acknowledged in time"),
        ("Error", "error", "at least one error is not acknowledged"),
    ),
    Field("StationHeartbeat", "heartbeat", 1, Kind.WORD, "a counter that the station changes"),
    Field("State", "state", 2, Kind.WORD, "state after OPC 40100-1"),
    Field("AckCommand", "ack_command", 3, Kind.WORD, "the command that the station has taken"),
    Field("CommandResult", "command_result", 4, Kind.WORD, "how the latest command ended"),
    Field("ErrorCode", "error_code", 5, Kind.WORD, "the oldest error"),
    Field("ErrorCount", "error_count", 6, Kind.WORD, "errors that are not acknowledged"),
    Field("ActiveRecipe", "recipe", 7, Kind.WORD, "the prepared recipe; 0: none"),
    Field("Buffered", "buffered", 8, Kind.WORD, "results that wait, the shown one included"),
    Field("Verdict", "result.verdict", 10, Kind.WORD, "the result: only 1 means OK"),
    Field("FailSafe", "result.fail_safe", 11, Kind.WORD, "how to treat a part without decision"),
    Field("Reason", "result.reason", 12, Kind.WORD, "why there is no decision"),
    Field("Score", "result.score", 13, Kind.WORD, "score from 0 to 10,000; 65,535: none"),
    Field("ResultRecipe", "result.recipe", 14, Kind.WORD, "recipe of the part"),
    Field(
        "ResultTriggerNumber", "result.trigger_number", 15, Kind.DOUBLE_WORD,
        "TriggerNumber at the Trigger",
    ),
    Field("ResultPartId", "result.part_id", 17, Kind.TEXT, "PartId at the Trigger"),
)  # fmt: skip
"""What the station writes; its first register is the start of the block of outputs."""


def length(fields: Sequence[Field]) -> int:
    """Return the number of registers of a block."""
    return max(field.offset + field.kind.registers for field in fields)


def encode(image: PlcImage | StationImage, fields: Sequence[Field], order: WordOrder) -> list[int]:
    """Return a block's registers."""
    registers = [0] * length(fields)
    for field in fields:
        value = field.value_in(image)
        place = slice(field.offset, field.offset + field.kind.registers)
        if field.kind is Kind.BIT:
            registers[field.offset] |= int(value) << field.bit
        elif field.kind is Kind.WORD:
            registers[field.offset] = int(value) & _WORD
        elif field.kind is Kind.DOUBLE_WORD:
            registers[place] = _words(int(value), order)
        else:
            registers[place] = _text_registers(value)
    return registers


def decode_plc(registers: Sequence[int], order: WordOrder) -> PlcImage:
    """Return what the PLC has written; any content is valid."""
    return PlcImage(**{field.source: decode(registers, field, order) for field in PLC_WRITES})


def decode(registers: Sequence[int], field: Field, order: WordOrder) -> Any:  # noqa: ANN401
    """Return a field's value: bool, int or text."""
    words = registers[field.offset : field.offset + field.kind.registers]
    if field.kind is Kind.BIT:
        return bool(words[0] >> field.bit & 1)
    if field.kind is Kind.WORD:
        return words[0]
    if field.kind is Kind.DOUBLE_WORD:
        high, low = words if order is WordOrder.BIG else reversed(words)
        return high << 16 | low
    content = b"".join(word.to_bytes(2, "big") for word in words)
    return content.partition(b"\0")[0].decode("latin-1")


def _words(value: int, order: WordOrder) -> list[int]:
    words = [value >> 16 & _WORD, value & _WORD]
    return words if order is WordOrder.BIG else words[::-1]


def _text_registers(text: str) -> list[int]:
    content = text.encode("latin-1", "replace")[:PART_ID_CHARACTERS]
    content = content.ljust(PART_ID_CHARACTERS, b"\0")
    return [content[at] << 8 | content[at + 1] for at in range(0, PART_ID_CHARACTERS, 2)]
