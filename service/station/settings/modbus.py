"""Settings of Modbus TCP: the station as the server, or as the client of a PLC that is one."""

from typing import Literal

from pydantic import Field

from service.station.settings.base import LOOPBACK, Milliseconds, Network, StationRoom


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
    word_order: Literal["big", "little"] = Field(
        "big", description="which word of a 32-bit number comes first: the high one is `big`"
    )
