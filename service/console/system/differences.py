"""The settings that differ from their defaults, without secrets.

for setting in differences(settings):
    print(setting.variable, setting.value)
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from service.settings import Settings
from service.settings.environment import variable_of

_SECRET = re.compile(r"(password|secret|token|credential)(?!.*_(file|variable)$)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HIDDEN = "••••"


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting's variable, or the variable and keys of a sink, and its value as text."""

    variable: str
    value: str


def differences(settings: Settings) -> list[Difference]:
    """Return every setting with another value than its default."""
    return [
        Difference(variable_of(room, name) + keys, value)
        for room in Settings.model_fields
        for name, keys, value in _of_room(getattr(settings, room))
    ]


def _of_room(model: BaseModel) -> Iterator[tuple[str, str, str]]:
    """Yield field, further keys and value of each difference."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        default = field.get_default(call_default_factory=True)
        if value == default and default is not PydanticUndefined:
            continue
        for keys, text in _texts(value, name):
            yield name, keys, text


def _texts(value: object, name: str) -> Iterator[tuple[str, str]]:
    """Yield the value as text, by the keys of its parts."""
    if isinstance(value, BaseModel):
        for field, keys, text in _of_room(value):
            yield f".{field}{keys}", text
    elif isinstance(value, Mapping):
        for key, part in value.items():
            for keys, text in _texts(part, str(key)):
                yield f".{key}{keys}", text
    else:
        yield "", _text(value, name)


def _text(value: object, name: str) -> str:
    if isinstance(value, SecretStr) or _SECRET.search(name):
        return _HIDDEN
    if isinstance(value, tuple | list):
        return ", ".join(_text(part, name) for part in value)
    text = str(value)
    if not isinstance(value, Path) and _URL.match(text):
        return _host_of(text)
    return text


def _host_of(url: str) -> str:
    """Return a URL's scheme and host: user, path and query may hold a password or token.

    >>> _host_of("https://ada:pass@mes.example:8443/hooks/T0P5ECRET?token=1")
    'https://mes.example:8443/…'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}"
    return shown if url == shown else f"{shown}/…"
