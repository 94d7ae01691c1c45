"""Reads `station.yaml`; an error names the line.

settings = read_station_file(Path("station.yaml"))
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel, ValidationError

from service.station.settings import StationSettings

if TYPE_CHECKING:
    import yaml

_Place: TypeAlias = tuple[str | int, ...]
_MOST_BYTES = 2**20


class StationFileInvalid(Exception):
    """The file cannot be read or has errors; the message has a line for each."""


def read_station_file(path: Path) -> StationSettings:
    """Return the settings of a station. Raises `StationFileInvalid`.

    Relative paths in the file count from its folder.
    """
    import yaml  # noqa: PLC0415 - the extra `station` installs it

    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise StationFileInvalid(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise StationFileInvalid(f"{path} has over {_MOST_BYTES} bytes")
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise StationFileInvalid(f"{path}: {' '.join(str(error).split())}") from error
    reader = _Reader(path)
    values = reader.value(root, ()) if root else {}
    if reader.errors:
        raise StationFileInvalid("\n".join(reader.errors))
    try:
        settings = StationSettings.model_validate(values)
    except ValidationError as error:
        lines = [reader.line_of(fault["loc"], fault["msg"]) for fault in error.errors()]
        raise StationFileInvalid("\n".join(lines)) from error
    resolved: StationSettings = _with_paths_from(settings, path.parent)
    return resolved


class _Reader:
    """Turns YAML's nodes into values, and remembers the line of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[_Place, int] = {(): 1}
        self.errors: list[str] = []

    def value(self, node: "yaml.Node", place: _Place, above: tuple[int, ...] = ()) -> Any:  # noqa: ANN401
        """Return a node's value; an anchor that contains itself is an error."""
        import yaml  # noqa: PLC0415

        self._lines.setdefault(place, node.start_mark.line + 1)
        if id(node) in above:
            self.errors.append(self.line_of(place, "an anchor that contains itself"))
            return None
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, above)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.value(item, (*place, number), above) for number, item in enumerate(node.value)
            ]
        return self._scalar(node, place)

    def line_of(self, place: _Place, message: str) -> str:
        """Return an error's text, with the line of the deepest node that exists."""
        known = place
        while known not in self._lines:
            known = known[:-1]
        name = ".".join(map(str, place)) or "station"
        message = message.removeprefix("Value error, ")
        return f"{self._path}, line {self._lines[known]}: {name}: {message}"

    def _mapping(self, node: "yaml.MappingNode", place: _Place, above: tuple[int, ...]) -> Any:  # noqa: ANN401
        values: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.value(key_node, (*place, "a key"), above)
            self._lines.pop((*place, "a key"), None)
            inner = (*place, key if isinstance(key, str | int) else str(key))
            self._lines.setdefault(inner, key_node.start_mark.line + 1)
            if not isinstance(key, str | int) or isinstance(key, bool):
                self.errors.append(self.line_of(inner, f"expected a name, got the key {key!r}"))
            elif key in values:
                self.errors.append(self._twice(inner, key_node.start_mark.line + 1))
            else:
                values[key] = self.value(value_node, inner, above)
        return values

    def _scalar(self, node: "yaml.Node", place: _Place) -> Any:  # noqa: ANN401
        import yaml  # noqa: PLC0415

        loader = yaml.SafeLoader("")
        try:
            return loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            text = " ".join(str(error).split())
            self.errors.append(self.line_of(place, text))
            return None
        finally:
            loader.dispose()

    def _twice(self, place: _Place, line: int) -> str:
        first = self._lines[place]
        name = ".".join(map(str, place))
        return f"{self._path}, line {line}: {name}: is already set in line {first}"


def _with_paths_from(value: Any, folder: Path) -> Any:  # noqa: ANN401 - any part of the settings
    """Return settings whose relative paths begin in a folder."""
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return value.model_copy(
            update={name: _with_paths_from(inner, folder) for name, inner in fields.items()}
        )
    if isinstance(value, dict):
        return {key: _with_paths_from(inner, folder) for key, inner in value.items()}
    return value
