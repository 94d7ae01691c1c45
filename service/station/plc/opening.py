"""Makes the door that the settings name."""

from service.client import AsyncClient
from service.station.plc.door import DoorClosed, Heard, PlcDoor
from service.station.plc.modbus import ModbusDoor
from service.station.plc.modbus_client import ModbusClientDoor
from service.station.settings import OpcUaSettings, PlcSettings, StationSettings


def open_door(
    settings: PlcSettings,
    heard: Heard,
    station: StationSettings | None = None,
    client: AsyncClient | None = None,
) -> PlcDoor:
    """Return a door; nobody can connect before it is opened. Raises `DoorClosed`.

    A door that names recipes and models needs the station's settings and its client.
    """
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
    assert settings.opcua is not None  # the settings name exactly one door
    assert station is not None
    assert client is not None
    return _open_opcua(settings.opcua, heard, station, client)


def _open_opcua(
    settings: OpcUaSettings, heard: Heard, station: StationSettings, client: AsyncClient
) -> PlcDoor:
    try:
        from service.station.plc.opcua import OpcUaDoor  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise DoorClosed(
            f"{error.name} is not installed: pip install 'mambaad-service[opcua]'"
        ) from error
    return OpcUaDoor(settings, heard, station, client)
