"""Settings of doors whose clients send requests: MQTT, HTTP, and a folder of triggers."""

from pathlib import Path

from pydantic import Field

from service.station.settings.base import LOOPBACK, Network, StationRoom


class MqttDoorSettings(StationRoom):
    """Commands and replies through an MQTT broker."""

    host: str = Field(description="address of the broker")
    port: int = Field(1883, ge=1, le=65_535, description="port of the broker; 8883 for TLS")


class HttpDoorSettings(StationRoom):
    """The HTTP server that takes triggers."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8031, ge=0, le=65_535, description="port to listen on")
    allow: tuple[Network, ...] = Field(
        LOOPBACK, description="networks of the clients that may connect"
    )


class FolderDoorSettings(StationRoom):
    """A folder into which a program writes a file for each trigger."""

    path: Path = Field(description="folder that receives the triggers")
