"""Settings of `service.workers`: devices, batches, queues, and when a worker is replaced."""

import re
from typing import Literal

from pydantic import Field, field_validator

from service.settings.cores import available_cores
from service.settings.room import CommaSeparated, RoomSettings

_DEVICE = re.compile(r"cpu|cuda:\d{1,2}")
_MOST_LANES = 4


class WorkerSettings(RoomSettings):
    """Variables named `MAMBAAD_WORKERS__<FIELD>`."""

    devices: CommaSeparated = Field(
        ("cpu",), description='where to run: "cpu" or "cuda:N", separated by commas'
    )
    workers_per_device: int = Field(1, ge=1, le=16)
    threads_per_worker: int | None = Field(
        None, ge=1, le=1024, description="None divides the cores among the workers on the CPU"
    )
    backend: str = Field(
        "auto",
        description='"onnxruntime", or a backend of the scan for torch; "auto" takes torch where '
        "it is installed and the version has a network for it",
    )
    precision: Literal["auto", "float32", "tf32", "float16", "bfloat16"] = Field(
        "auto", description="on CUDA; auto measures which is fastest of those that agree"
    )
    cuda_graphs: bool = Field(True, description="on CUDA: replay kernels, launch none anew")
    max_model_bytes: int | None = Field(
        None,
        ge=1,
        description="weights that a worker may hold; those used longest ago go when it is more",
    )
    max_memory_bytes: int | None = Field(
        None,
        ge=2**29,
        description="memory of a worker on a CPU; None: what the machine or its container has",
    )

    max_batch_size: int = Field(16, ge=1, le=1024)
    max_queue_delay_ms: float = Field(
        0.0, ge=0, le=10_000, description="how long a batch may wait to fill; 0 takes what waits"
    )
    batch_efficiency: float = Field(
        0.95,
        gt=0,
        le=1,
        description="a batch is as large as it takes to reach this share of the highest "
        "throughput, by what batches were measured to take; 1 always fills max_batch_size",
    )
    max_queue_size: int = Field(
        128, ge=1, le=100_000, description="images that may wait per worker and checkpoint"
    )
    max_queue_bytes: int = Field(2**30, ge=1, description="what waiting images may hold together")
    priority_patience_ms: float = Field(
        1000.0, ge=0, description="how long an image of normal priority lets urgent ones go first"
    )

    batch_timeout_ms: float = Field(
        120_000.0, gt=0, description="a worker silent for longer on one batch is killed"
    )
    min_batch_timeout_ms: float = Field(
        10_000.0,
        gt=0,
        description="a worker is killed that takes ten times what a batch should take, and longer "
        "than this",
    )
    heartbeat_timeout_ms: float = Field(
        10_000.0, gt=0, description="a worker that gives no sign of life for longer is killed"
    )
    startup_timeout_s: float = Field(300.0, gt=0, description="for a worker to load and warm up")
    restart_backoff_s: float = Field(0.5, gt=0, description="doubled with each death in a row")
    max_restart_backoff_s: float = Field(30.0, gt=0)
    stop_grace_s: float = Field(5.0, ge=0, description="for workers to leave before being killed")

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [device for device in devices if not _DEVICE.fullmatch(device)]
        if wrong or not devices:
            raise ValueError(f'expected "cpu" or "cuda:N", at least one, got {list(devices)}')
        if len(set(devices)) < len(devices):
            raise ValueError(f"each device once, got {list(devices)}; see workers_per_device")
        return devices

    @property
    def worker_names(self) -> tuple[str, ...]:
        """One name per worker: its device, numbered where a device has several."""
        if self.workers_per_device == 1:
            return self.devices
        count = range(self.workers_per_device)
        return tuple(f"{device}/{number}" for device in self.devices for number in count)

    @property
    def worker_threads(self) -> int:
        """Threads that each worker computes with: by default all cores, shared on the CPU."""
        if self.threads_per_worker is not None:
            return self.threads_per_worker
        sharing = self.workers_per_device if "cpu" in self.devices else 1
        return max(1, available_cores() // sharing)

    def lanes_of(self, device: str) -> int:
        """How many batches a worker computes at once, by one thread each: more than one on a CPU.

        With many threads, one alone would take too long for an image.
        """
        threads = self.worker_threads
        return threads if device == "cpu" and threads <= _MOST_LANES else 1
