"""Settings of `service.versions`: where checkpoints lie, and where decisions on them are kept."""

from pathlib import Path

from pydantic import Field

from service.settings.room import RoomSettings


class VersionSettings(RoomSettings):
    """Variables named `MAMBAAD_VERSIONS__<FIELD>`."""

    weights_dir: Path = Field(Path("weights"), description="the checkpoint store to serve from")
    state_dir: Path | None = Field(
        None, description="where routes and thresholds are kept; None: in memory alone"
    )
