"""Settings of a station, read from its file `station.yaml`; docs/station.md has the table.

station = StationSettings.model_validate({"name": "EL-3", "cameras": ..., "recipes": ...})
"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, model_validator

_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][\w.-]*$")]
_Milliseconds = Annotated[float, Field(ge=1, le=3_600_000)]
_Network = IPv4Network | IPv6Network


class StationRoom(BaseModel):
    """The base of a part of `station.yaml`: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ServiceAddress(StationRoom):
    """The inspection service."""

    url: HttpUrl | None = Field(
        None, description="address of the service; by default `MAMBAAD_URL`, or this machine"
    )
    api_key_file: Path | None = Field(
        None, description="file with the API key, which needs the scope `detect`"
    )


class SpoolSettings(StationRoom):
    """The station's parts on disk."""

    folder: Path = Field(Path("station-spool"), description="folder of the spool")
    max_parts: int = Field(10_000, ge=10, description="parts that may wait for the service")
    max_bytes: int = Field(4 * 2**30, ge=2**20, description="bytes of their images")
    min_free_bytes: int = Field(2**28, ge=0, description="bytes of the disk that stay free")


class TimeSettings(StationRoom):
    """Times of the handshake, in milliseconds."""

    takt_ms: _Milliseconds = Field(1_000, description="from Trigger to ResultsValid at the latest")
    reserve_ms: _Milliseconds = Field(
        50, description="a part is UNDECIDED this long before the takt ends"
    )
    ack_timeout_ms: float = Field(
        5_000, ge=0, description="a result without ResultsAck is an Overrun after this; 0: never"
    )
    plc_timeout_ms: float = Field(
        0, ge=0, description="Ready goes off if the PLC's heartbeat stands still; 0: not watched"
    )
    heartbeat_ms: _Milliseconds = Field(500, description="between changes of the heartbeat")
    prepare_timeout_ms: _Milliseconds = Field(
        60_000, description="a recipe that is not prepared by then has failed"
    )

    @model_validator(mode="after")
    def _check_reserve(self) -> Self:
        if self.reserve_ms >= self.takt_ms:
            raise ValueError(
                f"reserve_ms must be below takt_ms, got {self.reserve_ms:g} and {self.takt_ms:g}"
            )
        return self


class ModbusSettings(StationRoom):
    """The Modbus TCP server to which the PLC connects."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(5020, ge=0, le=65_535, description="port to listen on; PLCs expect 502")
    allow: tuple[_Network, ...] = Field(
        (IPv4Network("127.0.0.0/8"),), description="networks of the clients that may connect"
    )
    max_clients: int = Field(4, ge=1, le=64, description="connections at a time")
    word_order: Literal["big", "little"] = Field(
        "big", description="which word of a 32-bit number comes first: the high one is `big`"
    )


class PlcSettings(StationRoom):
    """The door to the PLC."""

    modbus: ModbusSettings = Field(ModbusSettings(), description="Modbus TCP, as a server")


class FolderCamera(StationRoom):
    """A camera, or its software, that writes files into a folder."""

    path: Path = Field(description="folder that receives the images")
    pattern: str = Field(
        "*",
        description="names of the images; `{trigger_number}` and `{part_id}` stand for the part's",
    )
    timeout_ms: _Milliseconds = Field(500, description="a camera without an image is silent")
    stable_ms: _Milliseconds = Field(
        50, description="a file counts when it has not changed for this long"
    )
    renamed_into_place: bool = Field(
        False, description="the camera renames complete files into the folder: they count at once"
    )


class SnapshotCamera(StationRoom):
    """A camera that answers an HTTP request with an image."""

    url: HttpUrl = Field(description="address that returns one image")
    timeout_ms: _Milliseconds = Field(500, description="a camera without an image is silent")
    max_bytes: int = Field(64 * 2**20, ge=1, description="largest image")


class CameraSettings(StationRoom):
    """One camera: exactly one of `folder` and `snapshot`."""

    folder: FolderCamera | None = Field(None, description="a watched folder")
    snapshot: SnapshotCamera | None = Field(None, description="an HTTP snapshot")
    black_below: float = Field(
        4.0,
        ge=0,
        le=255,
        description="an image is black if 99.9 % of its pixels are below this; 0: off",
    )
    frozen_check: bool = Field(
        True, description="whether an image equal to the one before is a frozen camera"
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if (self.folder is None) == (self.snapshot is None):
            raise ValueError("expected exactly one of folder and snapshot")
        return self


class RecipeSettings(StationRoom):
    """What a recipe inspects."""

    name: str = Field("", max_length=64, description="name for people")
    categories: dict[_Name, str] = Field(
        min_length=1, description="the category for each camera's image"
    )


class StationSettings(StationRoom):
    """Everything in `station.yaml`. Raises pydantic's `ValidationError` for invalid values."""

    name: _Name = Field(description="the station's name in every inspection")
    server: ServiceAddress = Field(ServiceAddress(), description="the inspection service")
    spool: SpoolSettings = Field(SpoolSettings(), description="parts until they are archived")
    times: TimeSettings = Field(TimeSettings(), description="times of the handshake")
    plc: PlcSettings = Field(PlcSettings(), description="the door to the PLC")
    fail_safe: Literal["NG", "REVIEW", "STOP"] = Field(
        "NG", description="register FailSafe for a part that was not inspected"
    )
    autostart_recipe: int | None = Field(
        None, description="recipe that the station prepares at its start, without a command"
    )
    cameras: dict[_Name, CameraSettings] = Field(min_length=1, description="cameras by name")
    recipes: dict[Annotated[int, Field(ge=1, le=65_535)], RecipeSettings] = Field(
        min_length=1, description="recipes by the number in the PLC's register"
    )

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for number, recipe in self.recipes.items():
            if unknown := sorted(set(recipe.categories) - set(self.cameras)):
                raise ValueError(
                    f"recipe {number} names the camera {unknown[0]!r}; there are "
                    f"{', '.join(sorted(self.cameras))}"
                )
        if self.autostart_recipe is not None and self.autostart_recipe not in self.recipes:
            raise ValueError(f"autostart_recipe {self.autostart_recipe} is not in recipes")
        return self
