"""Names and values of bits and registers, as people write them in a script or at the prompt.

field, value = assignment("TriggerNumber=17")
condition("not ResultsValid".split()), condition(["State=Ready"])
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from service.station.machine.faults import ErrorCode
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import FailSafe, Reason, Verdict
from service.station.plc.layout import (
    PART_ID_CHARACTERS,
    PLC_WRITES,
    STATION_WRITES,
    Field,
    Kind,
)
from service.station.simulating.links import Outputs

Value: TypeAlias = bool | int | str

_CODES: dict[str, type[IntEnum]] = {
    "ReqCommand": Command,
    "AckCommand": Command,
    "State": State,
    "CommandResult": CommandResult,
    "ErrorCode": ErrorCode,
    "Verdict": Verdict,
    "FailSafe": FailSafe,
    "Reason": Reason,
}
_BITS = {"1": True, "on": True, "true": True, "0": False, "off": False, "false": False}
_BITS_OF = {Kind.WORD: 16, Kind.DOUBLE_WORD: 32}


class NotUnderstood(Exception):
    """A word that the language lacks; the message says what is expected."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A register of the station that has, or has not, a value."""

    name: str
    value: Value
    is_wanted: bool = True

    def holds(self, outputs: Outputs) -> bool:
        """Whether the station shows it."""
        return bool(outputs[self.name] == self.value) is self.is_wanted


def assignment(word: str) -> tuple[Field, Value]:
    """Return a field that the PLC writes, and its new value. Raises `NotUnderstood`."""
    name, has_value, text = word.partition("=")
    field = _field(name, PLC_WRITES, "the PLC writes")
    if has_value:
        return field, _value(field, text)
    if field.kind is not Kind.BIT:
        raise NotUnderstood(f"{field.name} is no bit: expected {field.name}=VALUE")
    return field, True


def cleared(name: str) -> tuple[Field, Value]:
    """Return a field that the PLC writes, and its value after a start. Raises `NotUnderstood`."""
    field = _field(name, PLC_WRITES, "the PLC writes")
    if field.kind is Kind.BIT:
        return field, False
    return field, "" if field.kind is Kind.TEXT else 0


def conditions(words: Sequence[str]) -> tuple[Condition, ...]:
    """Return all conditions; `not` belongs to the next word. Raises `NotUnderstood`."""
    if not words:
        raise NotUnderstood("expected a condition: NAME, not NAME, NAME=VALUE or NAME!=VALUE")
    found: list[Condition] = []
    rest = iter(words)
    for word in rest:
        if word != "not":
            found.append(_condition(word))
            continue
        name = next(rest, None)
        if name is None or "=" in name:
            raise NotUnderstood("expected the name of a bit after 'not'")
        found.append(_condition(f"{name}=0"))
    return tuple(found)


def code_in(kind: type[IntEnum], text: str) -> int:
    """Return a code by its number or its name, such as `PrepareRecipe`. Raises `NotUnderstood`."""
    by_name = {_plain(code.name): code for code in kind}
    if text.isdecimal():
        return int(text)
    if (code := by_name.get(_plain(text))) is not None:
        return code
    names = [code_name(code) for code in kind]
    raise NotUnderstood(f"{text!r} is unknown{_like(text, names)}; expected {', '.join(names)}")


def shown(name: str, value: Value) -> str:
    """Return a value as text: `State=Ready`, `Verdict=OK`, `Busy`, `not Busy`."""
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if isinstance(value, str):
        return f"{name}={value!r}"
    if name in _CODES:
        codes = {code.value: code for code in _CODES[name]}
        return f"{name}={code_name(codes[value]) if value in codes else value}"
    return f"{name}={value}"


def code_name(code: IntEnum) -> str:
    """Return a code's name; commands are written as in `PrepareRecipe`."""
    if isinstance(code, Command) and code is not Command.NONE:
        return "".join(word.capitalize() for word in code.name.split("_"))
    return code.name


def _condition(word: str) -> Condition:
    name, has_value, text = word.partition("=")
    is_wanted = not name.endswith("!")
    field = _field(name.removesuffix("!"), STATION_WRITES, "the station shows")
    if not has_value:
        if field.kind is not Kind.BIT:
            raise NotUnderstood(f"{field.name} is no bit: expected {field.name}=VALUE")
        return Condition(field.name, value=True)
    return Condition(field.name, _value(field, text), is_wanted)


def _field(name: str, fields: Sequence[Field], role: str) -> Field:
    for field in fields:
        if _plain(field.name) == _plain(name):
            return field
    names = [field.name for field in fields]
    raise NotUnderstood(
        f"{name!r} is nothing that {role}{_like(name, names)}; there are {', '.join(names)}"
    )


def _value(field: Field, text: str) -> Value:
    if field.kind is Kind.BIT:
        if text.lower() not in _BITS:
            raise NotUnderstood(f"{field.name} is a bit: expected 0 or 1, got {text!r}")
        return _BITS[text.lower()]
    if field.kind is Kind.TEXT:
        return _part_id(field.name, text)
    if field.name in _CODES:
        number = code_in(_CODES[field.name], text)
    elif text.isdecimal():
        number = int(text)
    else:
        raise NotUnderstood(f"{field.name} is a number, got {text!r}")
    largest = 2 ** _BITS_OF[field.kind] - 1
    if number > largest:
        raise NotUnderstood(f"{field.name} is at most {largest}, got {number}")
    return number


def _part_id(name: str, text: str) -> str:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise NotUnderstood(f"{name} has Latin-1 characters alone, got {text!r}") from error
    if len(text) > PART_ID_CHARACTERS:
        raise NotUnderstood(f"{name} has at most {PART_ID_CHARACTERS} characters, got {len(text)}")
    return text


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _like(word: str, names: Iterable[str]) -> str:
    by_plain_name = {_plain(name): name for name in names}
    similar = difflib.get_close_matches(_plain(word), by_plain_name, n=1, cutoff=0.7)
    return f" (did you mean {by_plain_name[similar[0]]}?)" if similar else ""


COMMANDS = tuple(code_name(code) for code in Command if code)
