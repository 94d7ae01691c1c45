"""Settings of `service.versions`: the checkpoint store and the state folder."""

from pathlib import Path

from pydantic import Field

from service.settings.room import RoomSettings


class VersionSettings(RoomSettings):
    """Variables named `MAMBAAD_VERSIONS__<FIELD>`."""

    weights_dir: Path = Field(Path("weights"), description="the checkpoint store to serve from")
    state_dir: Path | None = Field(
        None, description="folder to keep routes, thresholds and inspections; None: only in memory"
    )
