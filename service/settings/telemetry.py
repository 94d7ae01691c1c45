"""Settings of `service.telemetry`: logs and traces."""

from typing import Literal

from pydantic import Field

from service.settings.room import RoomSettings


class TelemetrySettings(RoomSettings):
    """Variables named `MAMBAAD_TELEMETRY__<FIELD>`."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = Field("json", description="text is for terminals")
    trace_endpoint: str | None = Field(
        None, description="where spans go by OTLP over HTTP; needs the extra `otel`"
    )
