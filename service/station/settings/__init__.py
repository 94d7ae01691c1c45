"""Settings of a station, read from its file `station.yaml`; docs/station.md has the table.

    station = StationSettings.model_validate({"name": "EL-3", "cameras": ..., "recipes": ...})

`station` has the file's keys, `plc` the doors, `cameras` the cameras.
"""

from service.station.settings.cameras import (
    CameraSettings,
    EncodedFrames,
    FolderCamera,
    GenicamCamera,
    SnapshotCamera,
    StreamCamera,
    UsbCamera,
)
from service.station.settings.modbus import ModbusClientSettings, ModbusSettings
from service.station.settings.opcua import OpcUaSettings
from service.station.settings.plc import PlcSettings
from service.station.settings.schedule import ScheduleEntry
from service.station.settings.station import RecipeSettings, StationSettings
from service.station.settings.status import StatusSettings

__all__ = [
    "CameraSettings",
    "EncodedFrames",
    "FolderCamera",
    "GenicamCamera",
    "ModbusClientSettings",
    "ModbusSettings",
    "OpcUaSettings",
    "PlcSettings",
    "RecipeSettings",
    "ScheduleEntry",
    "SnapshotCamera",
    "StationSettings",
    "StatusSettings",
    "StreamCamera",
    "UsbCamera",
]
