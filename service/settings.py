"""Every setting of the service, and the only place that reads the environment."""

import difflib
import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_DEVICE = re.compile(r"cpu|cuda:\d{1,2}")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_PREFIX = "MAMBAAD_"
_MOST_LANES = 4


class Settings(BaseSettings):
    """How the service runs: from arguments, then from variables named `MAMBAAD_<FIELD>`.

    Sizes are in bytes and pixels, times in milliseconds unless the name says otherwise. Raises
    pydantic's `ValidationError` for a value that cannot work.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = Field("json", description="text is for terminals")

    weights_dir: Path = Field(Path("weights"), description="the checkpoint store to serve from")
    state_dir: Path | None = Field(
        None, description="where routes and thresholds are kept; None: in memory alone"
    )
    devices: Annotated[tuple[str, ...], NoDecode] = Field(
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
    max_model_bytes: int | None = Field(
        None,
        ge=1,
        description="weights that a worker may hold; those used longest ago go when it is more",
    )

    max_image_bytes: int = Field(32 * 2**20, ge=1)
    max_image_pixels: int = Field(50_000_000, ge=1)
    max_image_tiles: int = Field(512, ge=1)
    max_request_bytes: int = Field(256 * 2**20, ge=1)
    max_files_per_request: int = Field(64, ge=1, le=1000)
    max_images_per_batch: int = Field(1000, ge=1, description="for POST /detect/batch")
    batch_request_timeout_ms: float = Field(
        600_000.0, gt=0, description="for POST /detect/batch, with all its images"
    )
    decode_threads: int = Field(default_factory=lambda: min(8, available_cores()), ge=1, le=256)

    request_timeout_ms: float = Field(30_000.0, gt=0)
    fail_safe: Literal["NG", "REVIEW", "STOP"] = Field(
        "NG", description="what the line is told to do with a part that is UNDECIDED"
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

    drift_window_parts: int = Field(
        500, ge=100, le=100_000, description="latest parts of a category that tell its drift"
    )
    drift_max_ng_share: float = Field(
        0.5, gt=0, le=1, description="share over the threshold above which drift is alarmed"
    )

    api_keys_file: Path | None = Field(None, description="as `mambaad keys` writes it")
    allow_anonymous: bool = Field(
        False, description="serve without a key, which is otherwise done on loopback alone"
    )
    metrics_require_key: bool = Field(False, description="of any scope, for GET /metrics")
    rate_limit_per_s: float | None = Field(
        None, gt=0, description="images of a key without a rate of its own, or of an address"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="web origins whose pages may ask, separated by commas"
    )

    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="addresses or networks whose X-Forwarded-For tells the client's address"
    )
    idempotency_max_answers: int = Field(1000, ge=1, description="kept for Idempotency-Key")
    idempotency_max_bytes: int = Field(64 * 2**20, ge=1, description="of answers kept")
    idempotency_ttl_s: float = Field(3600.0, gt=0, description="for an answer to be kept")
    trace_endpoint: str | None = Field(
        None, description="where spans go by OTLP over HTTP; needs the extra `otel`"
    )

    connection_limits: bool = Field(
        True, description="false serves by uvicorn's own connections, without limits on headers"
    )
    max_connections: int = Field(1024, ge=1, le=100_000)
    max_header_bytes: int = Field(32 * 2**10, ge=1024)
    max_inflight_bytes: int = Field(
        2 * 2**30, ge=1, description="of request bodies that are held at once"
    )
    header_timeout_s: float = Field(10.0, gt=0, description="for a request's headers to arrive")
    body_timeout_s: float = Field(20.0, gt=0, description="for a body, and more as it arrives")
    min_body_bytes_per_s: int = Field(10_000, ge=1, description="what earns a body more time")
    send_timeout_s: float = Field(30.0, gt=0, description="for a client to take the answer")
    keep_alive_s: float = Field(60.0, gt=0, description="for a connection to lie idle")
    shutdown_grace_s: float = Field(
        2.0, ge=0, description="to serve on after SIGTERM, no longer ready"
    )

    @field_validator("devices", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [part.strip() for part in value.split(",") if value.strip()]

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [device for device in devices if not _DEVICE.fullmatch(device)]
        if wrong or not devices:
            raise ValueError(f'expected "cpu" or "cuda:N", at least one, got {list(devices)}')
        if len(set(devices)) < len(devices):
            raise ValueError(f"each device once, got {list(devices)}; see workers_per_device")
        return devices

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [origin for origin in origins if not _ORIGIN.fullmatch(origin)]
        if wrong:
            raise ValueError(f"expected origins like https://line-7.example:8443, got {wrong}")
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ipaddress.ip_network(proxy)
        return proxies

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address that is listened on."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def needs_keys(self) -> bool:
        """Whether a key is asked for."""
        return not self.allow_anonymous and (self.api_keys_file is not None or not self.is_loopback)

    def contradictions(self) -> list[str]:
        """Return what cannot work together, one line for each."""
        lines = []
        if self.needs_keys and self.api_keys_file is None:
            lines.append(
                f"other machines can reach {self.host or 'every address'}, and there are no API "
                "keys: make one with `mambaad keys new` and set MAMBAAD_API_KEYS_FILE, or set "
                "MAMBAAD_ALLOW_ANONYMOUS=true"
            )
        if self.metrics_require_key and self.api_keys_file is None:
            lines.append("MAMBAAD_METRICS_REQUIRE_KEY needs MAMBAAD_API_KEYS_FILE")
        if self.max_image_bytes > self.max_request_bytes:
            lines.append("MAMBAAD_MAX_IMAGE_BYTES is more than MAMBAAD_MAX_REQUEST_BYTES")
        if self.max_request_bytes > self.max_inflight_bytes:
            lines.append("MAMBAAD_MAX_REQUEST_BYTES is more than MAMBAAD_MAX_INFLIGHT_BYTES")
        return lines

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


class ClientSettings(BaseSettings):
    """Where `mambaad detect` finds the service, from variables named `MAMBAAD_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="MAMBAAD_", frozen=True)

    url: str = Field("http://127.0.0.1:8000", description="the service's address")
    api_key: SecretStr | None = Field(None, description="the key to show it")


def unknown_variables() -> dict[str, str | None]:
    """Return variables of the environment that look like settings, each with the nearest one."""
    known = [name.upper() for name in (*Settings.model_fields, *ClientSettings.model_fields)]
    given = {name.upper() for name in os.environ if name.upper().startswith(_PREFIX)}
    unknown = sorted({name.removeprefix(_PREFIX) for name in given} - {*known})
    near = {name: difflib.get_close_matches(name, known, 1) for name in unknown}
    return {_PREFIX + name: _PREFIX + found[0] if found else None for name, found in near.items()}


def tune_torch() -> None:
    """Have torch ask for huge pages and spin briefly, here and in processes started from here.

    What the user has set stays. A batch's feature maps are megabytes each, made and freed over and
    over: clearing them in small pages took a third of the time. And OpenMP's threads, which by
    default spin for milliseconds after each parallel region, took the cores from decoding. torch
    and its OpenMP read the variables once, so this goes before their import.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
