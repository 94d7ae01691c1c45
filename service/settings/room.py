"""What the settings of every room are: a frozen model, and lists that fit into one variable."""

import json
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode


class RoomSettings(BaseModel):
    """The settings of one room. Raises pydantic's `ValidationError` for what cannot work.

    Sizes are in bytes and pixels, times in milliseconds unless the name says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if value.strip()]


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Words: a tuple, or in a variable text with commas or a JSON list."""
