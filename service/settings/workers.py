"""Settings of `service.workers`, and of `service.cluster`: workers on several machines."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from service.settings.environment import available_cores
from service.settings.room import CommaSeparated, NumberByName, RoomSettings

_DEVICE = re.compile(r"cpu|cuda:\d{1,2}")
_MOST_LANES = 4


class WorkerSettings(RoomSettings):
    """Variables named `MAMBAAD_WORKERS__<FIELD>`."""

    devices: CommaSeparated = Field(
        ("cpu",), description='devices to run on: "cpu" or "cuda:N", separated by commas'
    )
    workers_per_device: int = Field(1, ge=1, le=16, description="worker processes on each device")
    threads_per_worker: int | None = Field(
        None, ge=1, le=1024, description="None divides the cores among the workers on the CPU"
    )
    backend: str = Field(
        "auto",
        description='"onnxruntime", "openvino", or a scan backend of torch; "auto" uses torch if '
        "it is installed and the checkpoint has a torch network, and OpenVINO where it is faster",
    )
    precision: Literal["auto", "float32", "tf32", "float16", "bfloat16"] = Field(
        "auto",
        description="on CUDA and with OpenVINO; auto uses the fastest precision whose scores agree "
        "with float32",
    )
    cuda_graphs: bool = Field(
        True, description="on CUDA: replay captured kernels; false launches each kernel"
    )
    max_model_bytes: int | None = Field(
        None,
        ge=1,
        description="weights in a worker; beyond it the least recently used are unloaded",
    )
    max_memory_bytes: int | None = Field(
        None,
        ge=2**29,
        description="memory of a worker on a CPU; None: all of the machine or its container",
    )

    max_batch_size: int = Field(16, ge=1, le=1024, description="images computed together")
    max_queue_delay_ms: float = Field(
        0.0, ge=0, le=10_000, description="how long a batch may wait to fill; 0: not at all"
    )
    batch_efficiency: float = Field(
        0.95,
        gt=0,
        le=1,
        description="batches grow only until they reach this fraction of the highest measured "
        "throughput; 1 always fills max_batch_size",
    )
    max_queue_size: int = Field(
        128, ge=1, le=100_000, description="images that may wait per worker and checkpoint"
    )
    max_queue_bytes: int = Field(2**30, ge=1, description="bytes of all waiting images together")
    priority_patience_ms: float = Field(
        1000.0, ge=0, description="how long urgent images may overtake one of normal priority"
    )

    batch_timeout_ms: float = Field(
        120_000.0, gt=0, description="a worker that computes one batch for longer is killed"
    )
    min_batch_timeout_ms: float = Field(
        10_000.0,
        gt=0,
        description="a worker is killed if a batch takes longer than this and than ten times its "
        "expected time",
    )
    heartbeat_timeout_ms: float = Field(
        10_000.0, gt=0, description="a worker that sends no heartbeat for longer is killed"
    )
    startup_timeout_s: float = Field(
        300.0, gt=0, description="time limit for a worker to load and warm up"
    )
    restart_backoff_s: float = Field(
        0.5, gt=0, description="delay before a restart; doubles with each death in a row"
    )
    max_restart_backoff_s: float = Field(30.0, gt=0, description="longest delay before a restart")
    stop_grace_s: float = Field(
        5.0, ge=0, description="how long workers may take to stop before they are killed"
    )

    spare: Literal["auto", "on", "off"] = Field(
        "auto",
        description="a second process on the CPU, loaded and warm, which takes over when a worker "
        "dies; auto: if memory allows, on: without this check",
    )

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [device for device in devices if not _DEVICE.fullmatch(device)]
        if wrong or not devices:
            raise ValueError(f'expected "cpu" or "cuda:N", at least one, got {list(devices)}')
        if len(set(devices)) < len(devices):
            raise ValueError(
                f"expected each device once, got {list(devices)}; for several workers on a device "
                "set workers_per_device"
            )
        return devices

    @property
    def worker_names(self) -> tuple[str, ...]:
        """One name per worker: its device, plus a number if the device has several workers."""
        if self.workers_per_device == 1:
            return self.devices
        count = range(self.workers_per_device)
        return tuple(f"{device}/{number}" for device in self.devices for number in count)

    @property
    def has_spare(self) -> bool:
        """Whether a spare process is wanted, and a worker on the CPU that it can replace."""
        return self.spare != "off" and "cpu" in self.devices

    @property
    def worker_threads(self) -> int:
        """Threads of each worker: by default all cores, divided among workers on the CPU."""
        if self.threads_per_worker is not None:
            return self.threads_per_worker
        sharing = self.workers_per_device if "cpu" in self.devices else 1
        return max(1, available_cores() // sharing)

    def lanes_of(self, device: str) -> int:
        """Batches that a worker computes at once, each in one thread; more than one only on a CPU.

        With many threads, one thread alone would take too long for an image.
        """
        threads = self.worker_threads
        return threads if device == "cpu" and threads <= _MOST_LANES else 1


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
    replicas: NumberByName = Field(
        default_factory=dict,
        description="workers that keep a checkpoint loaded at least, as NAME=NUMBER, separated by "
        "commas; of the others `max_model_bytes` decides",
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
        for name, count in self.replicas.items():
            if not 1 <= count <= self.min_workers:
                raise ValueError(
                    f"expected 1 to min_workers = {self.min_workers} replicas of {name}, got "
                    f"{count}"
                )
        return self
