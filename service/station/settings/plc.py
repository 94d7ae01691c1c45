"""Settings of the door to the PLC."""

from typing import Any, Self

from pydantic import Field, model_validator

from service.station.settings.base import StationRoom
from service.station.settings.modbus import ModbusClientSettings, ModbusSettings
from service.station.settings.opcua import OpcUaSettings
from service.station.settings.requests import (
    FolderDoorSettings,
    HttpDoorSettings,
    MqttDoorSettings,
)


class PlcSettings(StationRoom):
    """The door to the PLC: exactly one, so that one master commands the station."""

    modbus: ModbusSettings | None = Field(
        None, description="Modbus TCP, as a server; the default if no door is named"
    )
    modbus_client: ModbusClientSettings | None = Field(
        None, description="Modbus TCP, as the client of the PLC"
    )
    opcua: OpcUaSettings | None = Field(None, description="OPC UA, shaped after OPC 40100-1")
    mqtt: MqttDoorSettings | None = Field(None, description="MQTT commands and replies")
    http: HttpDoorSettings | None = Field(None, description="HTTP triggers")
    folder: FolderDoorSettings | None = Field(None, description="a folder of triggers")

    @model_validator(mode="before")
    @classmethod
    def _choose_modbus(cls, values: Any) -> Any:  # noqa: ANN401 - what the file has
        if values == {}:
            return {"modbus": {}}
        return values

    @model_validator(mode="after")
    def _check_one_door(self) -> Self:
        doors = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(doors) != 1:
            raise ValueError(f"expected exactly one door, got {', '.join(doors) or 'none'}")
        return self
