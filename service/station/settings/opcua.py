"""Settings of the OPC UA server."""

from pydantic import Field

from service.station.settings.base import StationRoom


class OpcUaSettings(StationRoom):
    """The OPC UA server to which the PLC or a SCADA system connects."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(4840, ge=0, le=65_535, description="port to listen on")
