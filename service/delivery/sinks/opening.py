"""Makes each sink from its settings, and names what is missing."""

from importlib import import_module

from service.delivery.sinks.folder import FolderSink
from service.delivery.sinks.sink import Place, Sink, SinkUnusable
from service.delivery.sinks.webhook import WebhookSink
from service.settings.secrets import HasPassword, SecretUnreadable
from service.settings.sinks import (
    FolderSettings,
    MqttSettings,
    PostgresqlSettings,
    SinkSettings,
    WebhookSettings,
)


def opened(name: str, settings: SinkSettings, place: Place) -> Sink:
    """Make a sink; nothing is sent yet. Raises `SinkUnusable`."""
    try:
        if isinstance(settings, WebhookSettings):
            settings.secret()
            settings.token()
        if isinstance(settings, HasPassword):
            settings.password()
    except SecretUnreadable as error:
        raise SinkUnusable(f"the sink {name}: {error}") from error
    match settings:
        case MqttSettings():
            _require(name, "paho.mqtt.client", extra="mqtt")
            from service.delivery.sinks.mqtt import MqttSink  # noqa: PLC0415 - an extra

            return MqttSink(name, settings, place)
        case PostgresqlSettings():
            _require(name, "psycopg", extra="postgresql")
            from service.delivery.sinks.postgresql import PostgresqlSink  # noqa: PLC0415 - an extra

            return PostgresqlSink(name, settings, place)
        case WebhookSettings():
            return WebhookSink(name, settings, place)
        case FolderSettings():
            return FolderSink(name, settings, place)


def _require(name: str, module: str, *, extra: str) -> None:
    """Raise `SinkUnusable` if a package is not installed."""
    try:
        import_module(module)
    except ImportError as error:
        raise SinkUnusable(
            f"the sink {name} needs a package that is not installed ({error}): "
            f"pip install 'mambaad-service[{extra}]'"
        ) from error
