"""Groups of command-line options, declared as fields of a frozen dataclass."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields
from functools import wraps
from inspect import Parameter
from typing import Any, TypeGuard, get_type_hints


@dataclass(frozen=True, slots=True)
class OptionGroup:
    """A command's options by name; a field may be a nested group."""

    def flat(self) -> Iterator[tuple[str, Any]]:
        """Yield every option with its value, including those of nested groups."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, OptionGroup):
                yield from value.flat()
            else:
                yield field.name, value


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Turn each field of a command's groups into an option.

    @app.command()
    @grouped
    def train(name: str, run: RunOptions) -> None: ...
    """
    signature = inspect.signature(command, eval_str=True).parameters.values()
    groups = {p.name: p.annotation for p in signature if _is_group(p.annotation)}
    options: list[Parameter] = []
    for parameter in signature:
        group = groups.get(parameter.name)
        options += [parameter] if group is None else _options(group)

    @wraps(command)
    def call(**values: Any) -> None:  # noqa: ANN401 (as the options are)
        parts = {name: _taken(group, values) for name, group in groups.items()}
        command(**values, **parts)

    flat = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in options]
    call.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    call.__annotations__ = {option.name: option.annotation for option in flat}
    return call


def _is_group(kind: object) -> TypeGuard[type[OptionGroup]]:
    return isinstance(kind, type) and issubclass(kind, OptionGroup)


def _options(group: type[OptionGroup]) -> Iterator[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        kind = hints[field.name]
        if _is_group(kind):
            yield from _options(kind)
        else:
            default = _default(field)
            yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _default(field: Field[Any]) -> object:
    return Parameter.empty if field.default is MISSING else field.default


def _taken(group: type[OptionGroup], values: dict[str, Any]) -> OptionGroup:
    """Build a group from its options, and remove them from `values`."""
    hints = get_type_hints(group)
    parts = {
        field.name: _taken(hints[field.name], values)
        if _is_group(hints[field.name])
        else values.pop(field.name)
        for field in fields(group)
    }
    return group(**parts)
