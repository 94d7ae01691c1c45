"""Settings of `mambaad detect`, a client of the service."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.settings.environment import PREFIX


class ClientSettings(BaseSettings):
    """Where `mambaad detect` finds the service, from variables named `MAMBAAD_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    url: str = Field("http://127.0.0.1:8000", description="the service's address")
    api_key: SecretStr | None = Field(None, description="the key to send")
    ca_file: Path | None = Field(
        None,
        description="PEM file of the authority of an https service; by default the public ones",
    )
