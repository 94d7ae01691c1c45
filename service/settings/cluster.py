"""Settings of `service.cluster`: workers on several machines, as actors of a Ray cluster."""

from pydantic import Field, model_validator

from service.settings.room import RoomSettings


class ClusterSettings(RoomSettings):
    """Variables named `MAMBAAD_CLUSTER__<FIELD>`."""

    address: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        description='"auto" for the Ray node on this machine, or HOST:PORT of the Ray head; None: '
        "worker processes of this service",
    )
    min_workers: int = Field(1, ge=1, le=256, description="workers in the cluster at least")
    max_workers: int = Field(8, ge=1, le=256, description="workers in the cluster at most")
    cpus_per_worker: int = Field(
        1,
        ge=1,
        le=1024,
        description="cores of a Ray node that a worker takes, and its threads unless "
        "`threads_per_worker` is set",
    )
    queue_age_ms: float = Field(
        250.0,
        gt=0,
        le=600_000,
        description="a worker is added while an image waits for longer, up to `max_workers`",
    )
    idle_s: float = Field(
        900.0, ge=1, le=86_400, description="how long all are idle before a worker ends"
    )
    silence_s: float = Field(
        5.0,
        ge=0.5,
        le=600,
        description="a worker that reports nothing for longer is lost: its images go to another",
    )
    linger_s: float = Field(
        60.0, ge=1, le=86_400, description="how long workers stay after the last service has gone"
    )

    @model_validator(mode="after")
    def _check_workers(self) -> "ClusterSettings":
        if self.max_workers < self.min_workers:
            raise ValueError(
                f"expected max_workers of at least min_workers = {self.min_workers}, got "
                f"{self.max_workers}"
            )
        return self
