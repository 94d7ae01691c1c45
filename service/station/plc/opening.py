"""Makes the door that the settings name."""

from service.station.plc.door import Heard, PlcDoor
from service.station.plc.modbus import ModbusDoor
from service.station.plc.modbus_client import ModbusClientDoor
from service.station.settings import PlcSettings


def open_door(settings: PlcSettings, heard: Heard) -> PlcDoor:
    """Return a door; nobody can connect before it is opened."""
    if settings.modbus is not None:
        return ModbusDoor(settings.modbus, heard)
    if settings.modbus_client is not None:
        return ModbusClientDoor(settings.modbus_client, heard)
    if settings.http is not None:
        from service.station.plc.requests.http import HttpDoor  # noqa: PLC0415

        return HttpDoor(settings.http, heard)
    if settings.mqtt is not None:
        from service.station.plc.requests.mqtt import MqttDoor  # noqa: PLC0415

        return MqttDoor(settings.mqtt, heard)
    if settings.folder is not None:
        from service.station.plc.requests.folder import FolderDoor  # noqa: PLC0415

        return FolderDoor(settings.folder, heard)
    raise NotImplementedError
