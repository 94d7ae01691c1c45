"""Settings of a station: the whole of `station.yaml`."""

from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, HttpUrl, model_validator

from service.station.settings.base import Milliseconds, Name, StationRoom
from service.station.settings.cameras import CameraSettings
from service.station.settings.modbus import ModbusSettings
from service.station.settings.plc import PlcSettings
from service.station.settings.schedule import ScheduleEntry
from service.station.settings.status import StatusSettings


class ServiceAddress(StationRoom):
    """The inspection service."""

    url: HttpUrl | None = Field(
        None, description="address of the service; by default `MAMBAAD_URL`, or this machine"
    )
    api_key_file: Path | None = Field(
        None, description="file with the API key, which needs the scope `detect`"
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file with the authority of an `https` service; by default "
        "`MAMBAAD_CA_FILE`, or the public ones",
    )


class SpoolSettings(StationRoom):
    """The station's parts on disk."""

    folder: Path = Field(Path("station-spool"), description="folder of the spool")
    max_parts: int = Field(10_000, ge=10, description="parts that may wait for the service")
    max_bytes: int = Field(4 * 2**30, ge=2**20, description="bytes of their images")
    min_free_bytes: int = Field(2**28, ge=0, description="bytes of the disk that stay free")


class TimeSettings(StationRoom):
    """Times of the handshake, in milliseconds."""

    takt_ms: Milliseconds = Field(1_000, description="from Trigger to ResultsValid at the latest")
    reserve_ms: Milliseconds = Field(
        50, description="a part is UNDECIDED this long before the takt ends"
    )
    ack_timeout_ms: float = Field(
        5_000, ge=0, description="a result without ResultsAck is an Overrun after this; 0: never"
    )
    plc_timeout_ms: float = Field(
        0, ge=0, description="Ready goes off if the PLC's heartbeat stands still; 0: not watched"
    )
    heartbeat_ms: Milliseconds = Field(500, description="between changes of the heartbeat")
    prepare_timeout_ms: Milliseconds = Field(
        60_000, description="a recipe that is not prepared by then has failed"
    )

    @model_validator(mode="after")
    def _check_reserve(self) -> Self:
        if self.reserve_ms >= self.takt_ms:
            raise ValueError(
                f"reserve_ms must be below takt_ms, got {self.reserve_ms:g} and {self.takt_ms:g}"
            )
        return self


class RecipeSettings(StationRoom):
    """What a recipe inspects."""

    name: str = Field("", max_length=64, description="name for people")
    categories: dict[Name, str] = Field(
        min_length=1, description="the category for each camera's image"
    )


class StationSettings(StationRoom):
    """Everything in `station.yaml`. Raises pydantic's `ValidationError` for invalid values."""

    name: Name = Field(description="the station's name in every inspection")
    server: ServiceAddress = Field(ServiceAddress(), description="the inspection service")
    spool: SpoolSettings = Field(SpoolSettings(), description="parts until they are archived")
    times: TimeSettings = Field(TimeSettings(), description="times of the handshake")
    plc: PlcSettings = Field(
        PlcSettings(modbus=ModbusSettings()), description="the door to the PLC"
    )
    fail_safe: Literal["NG", "REVIEW", "STOP"] = Field(
        "NG", description="register FailSafe for a part that was not inspected"
    )
    autostart_recipe: int | None = Field(
        None, description="recipe that the station prepares at its start, without a command"
    )
    cameras: dict[Name, CameraSettings] = Field(min_length=1, description="cameras by name")
    recipes: dict[Annotated[int, Field(ge=1, le=65_535)], RecipeSettings] = Field(
        min_length=1, description="recipes by the number in the PLC's register"
    )
    schedule: tuple[ScheduleEntry, ...] = Field(
        (), description="recipes that are warmed ahead of time"
    )
    time_zone: str | None = Field(
        None, description="time zone of the schedule, such as `Europe/Berlin`"
    )
    status: StatusSettings = Field(StatusSettings(), description="the status page")

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        for entry in self.schedule:
            if entry.recipe not in self.recipes:
                raise ValueError(f"schedule: recipe {entry.recipe} is not in recipes")
        if self.schedule and self.time_zone is None:
            raise ValueError("the schedule needs time_zone, such as Europe/Berlin, or UTC")
        if self.time_zone is not None:
            try:
                ZoneInfo(self.time_zone)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(
                    f"time_zone {self.time_zone!r} is unknown; a known one is Europe/Berlin"
                ) from error
        return self

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for number, recipe in self.recipes.items():
            if unknown := sorted(set(recipe.categories) - set(self.cameras)):
                raise ValueError(
                    f"recipe {number} names the camera {unknown[0]!r}; there are "
                    f"{', '.join(sorted(self.cameras))}"
                )
        self._check_heartbeat()
        if self.autostart_recipe is not None and self.autostart_recipe not in self.recipes:
            raise ValueError(f"autostart_recipe {self.autostart_recipe} is not in recipes")
        return self

    def _check_heartbeat(self) -> None:
        """Refuse to watch a heartbeat that nobody sends."""
        without = (self.plc.mqtt, self.plc.http, self.plc.folder, self.plc.opcua)
        if self.times.plc_timeout_ms and any(door is not None for door in without):
            raise ValueError(
                "times.plc_timeout_ms watches the heartbeat of a PLC; a client of plc.mqtt, "
                "plc.http, plc.folder or plc.opcua has none: remove it"
            )
