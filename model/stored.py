"""Configurations stored in a manifest: to JSON values and back."""

from dataclasses import MISSING, fields
from typing import Any, Self, cast

from model.errors import ConfigError


class Stored:
    """A frozen dataclass whose fields are numbers, strings, and tuples of them."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {name: getattr(self, name) for name in _names(type(self))}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from `to_dict` output, also after a round trip through JSON.

        Raises `ConfigError` for an unknown or missing field, or a value that the class refuses.
        """
        unknown = sorted(values.keys() - _names(cls))
        if unknown:
            raise ConfigError(f"{cls.__name__} has no {', '.join(unknown)}")
        missing = [name for name in _required(cls) if name not in values]
        if missing:
            raise ConfigError(f"{cls.__name__} needs {', '.join(missing)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _names(cls: type) -> list[str]:
    return [field.name for field in fields(cast(Any, cls))]


def _required(cls: type) -> list[str]:
    return [
        field.name
        for field in fields(cast(Any, cls))
        if field.default is MISSING and field.default_factory is MISSING
    ]
