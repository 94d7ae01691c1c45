"""Configurations that a manifest keeps: to JSON values and back."""

from dataclasses import fields
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
        """Build from `to_dict` output, or from what JSON made of it.

        Raises `ConfigError` for a field that does not exist, and whatever the class itself checks.
        """
        unknown = sorted(values.keys() - _names(cls))
        if unknown:
            raise ConfigError(f"{cls.__name__} has no {', '.join(unknown)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _names(cls: type) -> list[str]:
    return [field.name for field in fields(cast(Any, cls))]
