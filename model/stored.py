"""Configurations stored in a manifest: to JSON values and back."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from types import UnionType
from typing import Any, Self, cast, get_args, get_origin, get_type_hints

from model.errors import ConfigError
from model.limits import LARGEST_NUMBER


class Stored:
    """A frozen dataclass whose fields are numbers, strings, and tuples of them."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {name: getattr(self, name) for name in _names(type(self))}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from `to_dict` output, also after a round trip through JSON.

        Raises `ConfigError` for an unknown or missing field, a value of another type or out of
        bounds, and a value that the class refuses.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"{cls.__name__} must be an object, got {values!r:.100}")
        unknown = sorted(values.keys() - _names(cls))
        if unknown:
            raise ConfigError(f"{cls.__name__} has no {', '.join(unknown)[:200]}")
        missing = [name for name in _required(cls) if name not in values]
        if missing:
            raise ConfigError(f"{cls.__name__} needs {', '.join(missing)}")
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        hints = _hints(cast(type, cls))
        for name, value in given.items():
            if not _fits(value, hints[name]):
                raise ConfigError(
                    f"{cls.__name__}.{name} must be {_words(hints[name])}, got {value!r:.100}"
                )
        return cls(**given)


def _names(cls: type) -> list[str]:
    return [field.name for field in fields(cast(Any, cls))]


def _required(cls: type) -> list[str]:
    found = fields(cast(Any, cls))
    return [f.name for f in found if f.default is MISSING and f.default_factory is MISSING]


@lru_cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _fits(value: object, hint: object) -> bool:
    """Whether a value is of a field's type; numbers are finite, and within every bound."""
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return (
            isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
        )
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float) and abs(value) <= LARGEST_NUMBER  # nor is NaN
    if hint is int:
        return isinstance(value, int) and abs(value) < 2**63
    return isinstance(value, cast(type, hint))


def _words(hint: object) -> str:
    """Write a type as a person would: "int, int" and not "tuple[int, int]"."""
    if get_origin(hint) is tuple:
        return ", ".join(map(_words, get_args(hint)))
    return str(hint) if isinstance(hint, UnionType) else cast(type, hint).__name__
