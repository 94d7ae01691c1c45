"""Settings of `service.telemetry`: logs and traces."""

from typing import Literal

from pydantic import Field

from service.settings.room import RoomSettings


class TelemetrySettings(RoomSettings):
    """Variables named `MAMBAAD_TELEMETRY__<FIELD>`."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest level of logged lines"
    )
    log_format: Literal["json", "text"] = Field("json", description="json, or text for terminals")
    trace_endpoint: str | None = Field(
        None, description="OTLP/HTTP endpoint that receives spans; needs the extra `otel`"
    )
