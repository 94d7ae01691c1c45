"""Settings of `service.delivery`: the sinks, from a TOML file and from the environment."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic_settings import NoDecode

from model.bounded import read_regular
from service.settings.room import RoomSettings
from service.settings.sinks import FolderSettings, SinkSettings

_MAX_FILE_BYTES = 2**20
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HIDDEN = frozenset({"url", "proxy"})
"""Keys whose value may contain a password, and is not repeated in an error."""

_VARIABLE = "MAMBAAD_DELIVERY__SINKS"
_ADAPTER: TypeAdapter[Any] = TypeAdapter(SinkSettings)


class DeliverySettings(RoomSettings):
    """Variables named `MAMBAAD_DELIVERY__<FIELD>`.

    A sink that the file and `sinks` both name has the keys of both; those of `sinks` win.
    """

    file: Path | None = Field(None, description="TOML file with a table [sinks.NAME] for each sink")
    sinks: Annotated[dict[str, SinkSettings], NoDecode] = Field(
        default_factory=dict, max_length=32, description="sinks as a JSON object, by name"
    )
    service_name: str | None = Field(
        None, min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._ -]*$",
        description="this service's name in MQTT topics; None: the node's name",
    )  # fmt: skip
    drain_s: float = Field(
        0.0, ge=0, le=3600, description="how long a service that stops goes on delivering"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_sinks(cls, values: Any) -> Any:  # noqa: ANN401 - what pydantic passes
        """Merge the file's sinks with the given ones; errors name the file, table, key and line."""
        if not isinstance(values, dict):
            return values
        path, given = values.get("file"), _read_variable(values.get("sinks", {}))
        file = _SinksFile(Path(path)) if isinstance(path, str | Path) and str(path) else None
        faults: list[str] = []
        sinks = {}
        for name in {**(file.sinks if file else {}), **given}:
            sink = _merged(file, name, given.get(name, {}))
            try:
                sinks[name] = _ADAPTER.validate_python(sink)
            except ValidationError as error:
                faults += _faults(error, file, name)
            if not _NAME.fullmatch(str(name)):
                place = file.place(name) if file else _VARIABLE
                faults.append(
                    f"{place}: expected a sink's name of at most 64 letters, digits, dots, "
                    f"underscores and hyphens, got {str(name)[:70]!r}"
                )
        if faults:
            raise ValueError("; ".join(faults))
        return {**values, "file": Path(path) if file and path else None, "sinks": sinks}

    @model_validator(mode="after")
    def _check_folders(self) -> "DeliverySettings":
        folders = [sink.path for sink in self.sinks.values() if isinstance(sink, FolderSettings)]
        if len(set(folders)) < len(folders):
            raise ValueError("expected another path for each sink of type folder, got one twice")
        return self


class _SinksFile:
    """The tables of the file. Raises `ValueError` if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = read_regular(path, _MAX_FILE_BYTES)[0].decode("utf-8")
            tables = tomllib.loads(text)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} cannot be read: expected UTF-8") from error
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path} is not TOML: {error}") from error
        self._lines = text.splitlines()
        self.sinks: Mapping[str, Any] = tables.pop("sinks", {})
        if tables:
            raise ValueError(
                f"{self.place_of_key(next(iter(tables)))}: expected tables [sinks.NAME], "
                f"got {next(iter(tables))!r}"
            )
        if wrong := [name for name in self.sinks if not isinstance(self.sinks[name], dict)]:
            raise ValueError(f"{self.place_of_key(wrong[0])}: expected a table [sinks.{wrong[0]}]")

    def place(self, sink: str, key: str = "") -> str:
        """Return the file, the line of a key or of its table, and the table."""
        header = rf"""\s*\[\s*sinks\s*\.\s*["']?{re.escape(sink)}["']?\s*\]"""
        begin = self._find(header, 0)
        line = begin
        if begin and key:
            end = self._find(r"\s*\[", begin) or len(self._lines) + 1
            found = self._find(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", begin)
            line = found if found and found < end else begin
        return f"{self.path}{f', line {line}' if line else ''}: [sinks.{sink}]"

    def place_of_key(self, key: str) -> str:
        """Return the file, and the line of a key outside the sinks' tables."""
        line = self._find(rf"""\s*\[*\s*["']?{re.escape(key)}\b""", 0)
        return f"{self.path}{f', line {line}' if line else ''}"

    def _find(self, pattern: str, after: int) -> int | None:
        """Return the number of the first line after a line that begins with the pattern."""
        for number, line in enumerate(self._lines[after:], after + 1):
            if re.match(pattern, line):
                return number
        return None


def _read_variable(sinks: object) -> dict[str, object]:
    """Return the given sinks by name; a variable has them as JSON."""
    if isinstance(sinks, str):
        try:
            sinks = json.loads(sinks)
        except ValueError as error:
            raise ValueError(f"{_VARIABLE} is not JSON: {error}") from error
    if not isinstance(sinks, dict):
        raise ValueError(  # noqa: TRY004 - pydantic reports no other
            f"{_VARIABLE}: expected an object with a member for each sink"
        )
    return sinks


def _merged(file: _SinksFile | None, name: str, given: object) -> object:
    """Return a sink's keys, the given ones over the file's."""
    if not isinstance(given, dict):
        return given
    return {**(file.sinks.get(name, {}) if file else {}), **given}


def _faults(error: ValidationError, file: _SinksFile | None, name: str) -> Iterator[str]:
    """Yield one line for each fault of a sink, without secrets."""
    for fault in error.errors():
        kind = fault["type"]
        key = ".".join(map(str, fault["loc"][1:])) or ("type" if "tag" in kind else "")
        in_file = file is not None and name in file.sinks
        place = file.place(name, key) if file and in_file else f"{_VARIABLE}: {name}"
        message = fault["msg"].removeprefix("Value error, ")
        skips_input = kind == "missing" or isinstance(fault["input"], dict)
        if kind == "extra_forbidden":
            message = "there is no such key; a password or secret goes into a file of its own"
        elif key and key not in _HIDDEN and ", got" not in message and not skips_input:
            message += f", got {str(fault['input'])[:100]!r}"
        yield f"{place}{f' {key}' if key else ''}: {message}"
