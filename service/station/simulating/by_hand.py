"""The simulated PLC by hand: a prompt whose lower edge shows the bits, or lines of a pipe.

async with Player(link, print) as player:
    await play_by_hand(player, print)
"""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TextIO

from service.station.plc.layout import PLC_WRITES, STATION_WRITES, Kind
from service.station.simulating.actions import HELP
from service.station.simulating.playing import Player, Say, StepFailed
from service.station.simulating.steps import VERBS, parse
from service.station.simulating.values import COMMANDS, NotUnderstood, shown

_ENDS = ("quit", "exit")
_REFRESH_S = 0.1
_REGISTERS = ("State", "ErrorCode", "Buffered", "Verdict", "ResultTriggerNumber", "ResultPartId")


async def play_by_hand(player: Player, say: Say) -> None:
    """Perform each line that a person types, until `quit` or the end."""
    typed = _typed(player) if sys.stdin.isatty() else _piped(sys.stdin)
    async with aclosing(typed) as lines:
        async for line in lines:
            word = line.strip()
            if word in _ENDS:
                return
            if word == "help":
                say(f"{HELP}quit                            end")
                continue
            try:
                action = parse(line)
                if action is not None:
                    await player.perform(action)
            except (NotUnderstood, StepFailed) as error:
                say(f"{error}")


async def _typed(player: Player) -> AsyncGenerator[str]:
    """Yield lines of a terminal."""
    from prompt_toolkit import PromptSession  # noqa: PLC0415 - scripts do without
    from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415
    from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415

    names = [field.name for field in (*PLC_WRITES, *STATION_WRITES)]
    session: PromptSession[str] = PromptSession(
        completer=WordCompleter([*VERBS, *names, *COMMANDS, "help", *_ENDS]),
        complete_while_typing=False,
        bottom_toolbar=lambda: lower_edge(player),
        refresh_interval=_REFRESH_S,
    )
    with patch_stdout():
        while True:
            try:
                yield await session.prompt_async("plc> ")
            except (EOFError, KeyboardInterrupt):
                return


async def _piped(stream: TextIO) -> AsyncGenerator[str]:
    """Yield lines of a pipe or file; a thread reads them, which ends with the process."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        for line in stream:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line


def lower_edge(player: Player) -> str:
    """Return all bits, those that are on in brackets, and the registers that matter most."""
    outputs = player.outputs
    if not outputs:
        return "the station has not answered yet"
    station_bits = [
        f"[{field.name}]" if outputs[field.name] else f" {field.name} "
        for field in STATION_WRITES
        if field.kind is Kind.BIT
    ]
    plc_bits = [
        f"[{field.name}]" if getattr(player.inputs, field.source) else f" {field.name} "
        for field in PLC_WRITES
        if field.kind is Kind.BIT
    ]
    registers = "  ".join(shown(name, outputs[name]) for name in _REGISTERS)
    return f"PLC     {' '.join(plc_bits)}\nstation {' '.join(station_bits)}\n        {registers}"
