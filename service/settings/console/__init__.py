"""Settings of `service.console`."""

from service.settings.console.console import ConsoleSettings

__all__ = ["ConsoleSettings"]
