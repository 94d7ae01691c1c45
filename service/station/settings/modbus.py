"""Settings of Modbus TCP: the station as the server, or as the client of a PLC that is one."""

from typing import Literal, Self

from pydantic import Field, model_validator

from service.station.settings.base import LOOPBACK, Milliseconds, Network, StationRoom

PLC_REGISTERS = 22
"""Length of the block that the PLC writes."""
STATION_REGISTERS = 33
"""Length of the block that the station writes."""
_ADDRESSES = 65_536


class ModbusSettings(StationRoom):
    """The Modbus TCP server to which the PLC connects."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(5020, ge=0, le=65_535, description="port to listen on; PLCs expect 502")
    allow: tuple[Network, ...] = Field(
        LOOPBACK, description="networks of the clients that may connect"
    )
    max_clients: int = Field(4, ge=1, le=64, description="connections at a time")
    word_order: Literal["big", "little"] = Field(
        "big", description="which word of a 32-bit number comes first: the high one is `big`"
    )


class ModbusClientSettings(StationRoom):
    """A PLC that is the Modbus TCP server; the station reads and writes its holding registers."""

    host: str = Field(description="address of the PLC")
    port: int = Field(502, ge=1, le=65_535, description="port of the PLC")
    unit: int = Field(1, ge=0, le=255, description="unit identifier of the PLC")
    inputs_at: int = Field(
        0, ge=0, le=65_535, description="address, from 0, of the registers that the PLC writes"
    )
    outputs_at: int = Field(
        100,
        ge=0,
        le=65_535,
        description="address, from 0, of the registers that the station writes",
    )
    poll_ms: Milliseconds = Field(5, description="pause between two reads")
    timeout_ms: Milliseconds = Field(500, description="a PLC without an answer is away")
    reconnect_ms: Milliseconds = Field(
        500, description="pause before the station connects to a PLC that is away"
    )
    valid_off_ms: float = Field(
        20,
        ge=0,
        le=1_000,
        description="ResultsValid stays off this long between two results: longer than a cycle of "
        "the PLC",
    )
    word_order: Literal["big", "little"] = Field(
        "big", description="which word of a 32-bit number comes first: the high one is `big`"
    )

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        inputs_end = self.inputs_at + PLC_REGISTERS
        outputs_end = self.outputs_at + STATION_REGISTERS
        if max(inputs_end, outputs_end) > _ADDRESSES:
            raise ValueError(
                f"the blocks of {PLC_REGISTERS} and {STATION_REGISTERS} registers must end at "
                f"{_ADDRESSES - 1}, got inputs_at {self.inputs_at}, outputs_at {self.outputs_at}"
            )
        if self.inputs_at < outputs_end and self.outputs_at < inputs_end:
            raise ValueError(
                f"the blocks overlap: {PLC_REGISTERS} registers from inputs_at {self.inputs_at}, "
                f"{STATION_REGISTERS} from outputs_at {self.outputs_at}"
            )
        return self
