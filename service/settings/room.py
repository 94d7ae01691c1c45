"""The base of each room's settings, and the type of a list in one variable."""

import json
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
