"""Where the two blocks lie among Modbus registers, and the list of symbols for a PLC's project.

print(symbols_csv(Places()))
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

from service.station.plc.layout import PLC_WRITES, STATION_WRITES, Field, Kind, length

INPUTS_AT = 0
"""Address, from 0, of the first register that the PLC writes."""
OUTPUTS_AT = 100
"""Address, from 0, of the first register that the station writes."""
INPUTS = length(PLC_WRITES)
OUTPUTS = length(STATION_WRITES)
REGISTERS = OUTPUTS_AT + OUTPUTS

HEAD = ("name", "written_by", "type", "address_from_0", "address_from_1", "bit", "meaning")
_HOLDING = 400_001


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses, from 0, of the blocks' first registers; those of the server are fixed."""

    inputs_at: int = INPUTS_AT
    outputs_at: int = OUTPUTS_AT


def symbols(places: Places) -> Iterator[tuple[str | int, ...]]:
    """Yield a row for each bit and register; `HEAD` names the columns."""
    yield from _rows(PLC_WRITES, "PLC", places.inputs_at)
    yield from _rows(STATION_WRITES, "station", places.outputs_at)


def symbols_csv(places: Places) -> str:
    """Return the rows as CSV with a head."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows(symbols(places))
    return text.getvalue()


def _rows(fields: Sequence[Field], writer: str, start: int) -> Iterator[tuple[str | int, ...]]:
    for field in fields:
        address = start + field.offset
        bit = field.bit if field.kind is Kind.BIT else ""
        kind = field.kind.type_name
        yield field.name, writer, kind, address, _HOLDING + address, bit, field.meaning
