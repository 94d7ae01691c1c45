"""The base of each room's settings, and the types of a list and of pairs in one variable."""

import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode


class RoomSettings(BaseModel):
    """The settings of one room. Raises pydantic's `ValidationError` for invalid values.

    Units are in the names: bytes, pixels, `_ms`, `_s`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if value.strip()]


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A tuple of words; a variable holds them separated by commas or as a JSON list."""


def _pair(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return json.loads(value)
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise ValueError(f'expected NAME=NUMBER, separated by commas, got "{wrong[0].strip()}"')
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"expected each name once, got {twice[0]} {names.count(twice[0])} times")
    return dict(zip(names, (number.strip() for _, _, number in pairs), strict=True))


NumberByName = Annotated[Mapping[str, int], NoDecode, BeforeValidator(_pair)]
"""A number for each name; a variable holds NAME=NUMBER, separated by commas, or a JSON object."""
