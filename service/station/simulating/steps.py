"""The language of scripts and of the prompt: a line is a step.

    for step in read_script(Path("dropped.txt")):
        await player.perform(step.action)

`actions.HELP` describes every step.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.station.machine.states import Command, CommandResult
from service.station.plc.layout import Field
from service.station.simulating.actions import (
    WITHIN_S,
    Action,
    Beat,
    Disconnect,
    Expect,
    ExposePart,
    Give,
    Pause,
    Show,
    TakeResult,
    TriggerPart,
    Wait,
    Write,
)
from service.station.simulating.values import (
    NotUnderstood,
    Value,
    assignment,
    cleared,
    code_in,
    conditions,
)

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0}
_MOST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Step:
    """A line of a script."""

    line: int
    text: str
    action: Action


class ScriptInvalid(Exception):
    """The script cannot be read or has errors; the message has a line for each."""


def read_script(path: Path) -> list[Step]:
    """Return a script's steps. Raises `ScriptInvalid`."""
    try:
        content = path.read_bytes()[: _MOST_BYTES + 1]
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptInvalid(f"{path} cannot be read: {error}") from error
    if len(content) > _MOST_BYTES:
        raise ScriptInvalid(f"{path} has over {_MOST_BYTES} bytes")
    steps, errors = list[Step](), list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            action = parse(line)
        except NotUnderstood as error:
            errors.append(f"{path}, line {number}: {error}")
            continue
        if action is not None:
            steps.append(Step(number, line.strip(), action))
    if errors:
        raise ScriptInvalid("\n".join(errors))
    if not steps:
        raise ScriptInvalid(f"{path} has no steps")
    return steps


def parse(line: str) -> Action | None:
    """Return the action of a line; None if it is empty. Raises `NotUnderstood`."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise NotUnderstood(f"{error}; quote texts as in PartId='cell 17'") from error
    if not words:
        return None
    verb, *rest = words
    if verb not in _PARSERS:
        raise NotUnderstood(f"{verb!r} is no step; expected {', '.join(_PARSERS)}")
    return _PARSERS[verb](rest)


def _set(words: list[str]) -> Action:
    if not words:
        raise NotUnderstood("expected set NAME or set NAME=VALUE")
    return _write([assignment(word) for word in words])


def _clear(words: list[str]) -> Action:
    if not words:
        raise NotUnderstood("expected clear NAME")
    return _write([cleared(word) for word in words])


def _write(values: list[tuple[Field, Value]]) -> Action:
    names = [field.name for field, _ in values]
    if len(set(names)) < len(names):
        raise NotUnderstood("the same name twice: one request writes each once")
    return Write(tuple(values))


def _wait(words: list[str]) -> Action:
    words, within_s = _within(words)
    return Wait(conditions(words), within_s)


def _command(words: list[str]) -> Action:
    words, within_s = _within(words)
    expected = int(CommandResult.DONE)
    if len(words) >= 2 and words[-2] == "expect":
        expected = code_in(CommandResult, words[-1])
        words = words[:-2]
    if not 1 <= len(words) <= 2 or (len(words) == 2 and not words[1].isdecimal()):
        raise NotUnderstood("expected command NAME [RECIPE] [expect RESULT] [within TIME]")
    recipe = int(words[1]) if len(words) == 2 else 0
    command = code_in(Command, words[0])
    if not 1 <= command <= 0xFFFF or recipe > 0xFFFF:
        raise NotUnderstood("commands are 1 to 65535, recipes at most 65535")
    return Give(command, recipe, expected, within_s)


def _part(words: list[str], *, awaits_result: bool) -> Action:
    words, within_s = _within(words)
    if len(words) > 1:
        raise NotUnderstood("expected at most one part id; quote a text with spaces")
    if not words:
        return TriggerPart(None, awaits_result, within_s)
    _, part_id = assignment(f"PartId={words[0]}")
    return TriggerPart(str(part_id), awaits_result, within_s)


def _ack(words: list[str]) -> Action:
    words, within_s = _within(words)
    _none(words)
    return TakeResult(within_s)


def _beat(words: list[str]) -> Action:
    if words not in (["on"], ["off"]):
        raise NotUnderstood("expected heartbeat on or heartbeat off")
    return Beat(words == ["on"])


def _disconnect(words: list[str], *, forgets: bool) -> Action:
    return Disconnect(_seconds(words) if words else 0.0, forgets)


def _within(words: list[str]) -> tuple[list[str], float]:
    """Split `within TIME` from the end."""
    if "within" not in words:
        return words, WITHIN_S
    at = words.index("within")
    return words[:at], _seconds(words[at + 1 :])


def _seconds(words: list[str]) -> float:
    match = _TIME.fullmatch("".join(words))
    if match is None:
        raise NotUnderstood(f"expected a time such as 20ms, 1.5s or 2min, got {' '.join(words)!r}")
    return float(match[1]) * _SECONDS[match[2]]


def _none(words: list[str]) -> None:
    if words:
        raise NotUnderstood(f"expected nothing more, got {' '.join(words)!r}")


def _alone(action: Action) -> Callable[[list[str]], Action]:
    def parse_alone(words: list[str]) -> Action:
        _none(words)
        return action

    return parse_alone


_PARSERS: dict[str, Callable[[list[str]], Action]] = {
    "set": _set,
    "clear": _clear,
    "wait": _wait,
    "expect": lambda words: Expect(conditions(words)),
    "pause": lambda words: Pause(_seconds(words)),
    "command": _command,
    "trigger": lambda words: _part(words, awaits_result=False),
    "part": lambda words: _part(words, awaits_result=True),
    "expose": _alone(ExposePart()),
    "ack": _ack,
    "heartbeat": _beat,
    "disconnect": lambda words: _disconnect(words, forgets=False),
    "restart": lambda words: _disconnect(words, forgets=True),
    "show": _alone(Show()),
}
VERBS = tuple(_PARSERS)
