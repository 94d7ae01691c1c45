"""Every setting of the service, one model per room; only `environment` reads variables.

    settings = Settings(workers=WorkerSettings(max_batch_size=4))
    settings.workers.max_batch_size, settings.http.port

A new room adds a module with its `RoomSettings` here, and a field to `Settings`.
"""

import difflib
from itertools import chain
from pathlib import Path

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from service.settings.access import AccessSettings
from service.settings.api import ApiSettings
from service.settings.archive import ArchiveSettings
from service.settings.client import ClientSettings
from service.settings.console import ConsoleSettings
from service.settings.delivery import DeliverySettings
from service.settings.environment import (
    DELIMITER,
    PREFIX,
    available_cores,
    given_variables,
    tune_torch,
    variable_of,
)
from service.settings.flat_names import FLAT_NAMES, FlatNames
from service.settings.http import HttpSettings
from service.settings.inspection import InspectionSettings
from service.settings.room import RoomSettings
from service.settings.telemetry import TelemetrySettings
from service.settings.versions import StateSettings, VersionSettings
from service.settings.workers import ClusterSettings, WorkerSettings

__all__ = [
    "AccessSettings",
    "ApiSettings",
    "ArchiveSettings",
    "ClientSettings",
    "ClusterSettings",
    "ConsoleSettings",
    "DeliverySettings",
    "HttpSettings",
    "InspectionSettings",
    "Settings",
    "SettingsError",
    "StateSettings",
    "TelemetrySettings",
    "VersionSettings",
    "WorkerSettings",
    "available_cores",
    "tune_torch",
    "unknown_variables",
    "variables",
]


class Settings(BaseSettings):
    """The service's settings: arguments, then variables named `MAMBAAD_<ROOM>__<FIELD>`.

    A room passed as a dict is merged with the environment; one passed as its model replaces it.

    Raises pydantic's `ValidationError` for invalid values, and `SettingsError` for variables that
    cannot be parsed or contradict each other.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # it may contain a secret
    )

    http: HttpSettings = Field(default_factory=HttpSettings)
    access: AccessSettings = Field(default_factory=AccessSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    inspection: InspectionSettings = Field(default_factory=InspectionSettings)
    workers: WorkerSettings = Field(default_factory=WorkerSettings)
    cluster: ClusterSettings = Field(default_factory=ClusterSettings)
    versions: VersionSettings = Field(default_factory=VersionSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    archive: ArchiveSettings = Field(default_factory=ArchiveSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of settings, highest priority first."""
        return init_settings, env_settings, FlatNames(settings_cls)

    @property
    def needs_keys(self) -> bool:
        """Whether callers need a key."""
        return not self.access.allow_anonymous and (self.has_keys or not self.http.is_loopback)

    @property
    def has_keys(self) -> bool:
        """Whether there is a place for keys: a file, or the state that nodes share."""
        return self.access.api_keys_file is not None or self.state.url is not None

    @property
    def samples_dir(self) -> Path:
        """The folder of sample images, which need not exist."""
        beside_weights = self.versions.weights_dir.resolve().parent / "samples"
        return self.console.samples_dir or beside_weights

    @property
    def most_workers(self) -> int:
        """The number of workers that may compute at once."""
        if self.cluster.address is not None:
            return self.cluster.max_workers
        return len(self.workers.worker_names)

    def contradictions(self) -> list[str]:
        """Return one line for each contradiction between settings."""
        lines = []
        if self.needs_keys and not self.has_keys:
            lines.append(
                f"other machines can reach {self.http.host or 'every address'}, but there are no "
                "API keys: create one with `mambaad keys new` and set "
                "MAMBAAD_ACCESS__API_KEYS_FILE, or set MAMBAAD_ACCESS__ALLOW_ANONYMOUS=true"
            )
        if (self.http.tls_certificate is None) != (self.http.tls_key is None):
            lines.append(
                "MAMBAAD_HTTP__TLS_CERTIFICATE and MAMBAAD_HTTP__TLS_KEY belong together: set both "
                "or none"
            )
        if self.http.tls_key_password_file and self.http.tls_key is None:
            lines.append("MAMBAAD_HTTP__TLS_KEY_PASSWORD_FILE needs MAMBAAD_HTTP__TLS_KEY")
        if self.delivery.sinks and not (self.archive.enabled and self.versions.state_dir):
            lines.append(
                "sinks deliver what the archive keeps, and there is none: set "
                "MAMBAAD_VERSIONS__STATE_DIR and MAMBAAD_ARCHIVE__ENABLED=true, or remove the sinks"
            )
        lines += self._contradictions_of_nodes()
        if self.access.metrics_require_key and not self.has_keys:
            lines.append("MAMBAAD_ACCESS__METRICS_REQUIRE_KEY needs MAMBAAD_ACCESS__API_KEYS_FILE")
        if self.inspection.max_image_bytes > self.http.max_request_bytes:
            lines.append(
                "MAMBAAD_INSPECTION__MAX_IMAGE_BYTES is larger than MAMBAAD_HTTP__MAX_REQUEST_BYTES"
            )
        if self.http.max_request_bytes > self.http.max_inflight_bytes:
            lines.append(
                "MAMBAAD_HTTP__MAX_REQUEST_BYTES is larger than MAMBAAD_HTTP__MAX_INFLIGHT_BYTES"
            )
        return lines

    def _contradictions_of_nodes(self) -> list[str]:
        """Return those of settings for several nodes."""
        lines = []
        if self.state.url and self.versions.state_dir is None:
            lines.append(
                "MAMBAAD_STATE__URL needs MAMBAAD_VERSIONS__STATE_DIR, a folder for the last "
                "state, with which this node goes on while the PostgreSQL is away"
            )
        if self.state.url and self.access.api_keys_file:
            lines.append(
                "MAMBAAD_STATE__URL keeps the API keys too: bring those of the file there with "
                "`mambaad state import`, then unset MAMBAAD_ACCESS__API_KEYS_FILE"
            )
        if self.cluster.address and len(self.workers.devices) > 1:
            lines.append(
                "a worker of a cluster has one device, and each node may have several workers: set "
                "MAMBAAD_WORKERS__DEVICES to cpu or to cuda:0"
            )
        return lines


def variables() -> dict[str, tuple[str, str]]:
    """Map the name of each variable, flat names included, to its room and field."""
    named: dict[str, tuple[str, str]] = {}
    for room, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, RoomSettings)
        named |= {variable_of(room, name): (room, name) for name in model.model_fields}
    return named | FLAT_NAMES


def unknown_variables() -> dict[str, str | None]:
    """Map each unknown MAMBAAD_ variable of the environment to the most similar setting."""
    of_client = (PREFIX + name.upper() for name in ClientSettings.model_fields)
    names = [name.removeprefix(PREFIX) for name in chain(variables(), of_client)]
    unknown = sorted({name.removeprefix(PREFIX) for name in given_variables()} - {*names})
    similar = {name: difflib.get_close_matches(name, names, 1) for name in unknown}
    return {PREFIX + name: PREFIX + near[0] if near else None for name, near in similar.items()}
