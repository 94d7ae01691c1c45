"""The simulated PLC by hand, at a terminal and through a pipe."""

import asyncio
import fcntl
import io
import os
import pty
import struct
import sys
import termios

from service.station.machine.states import State
from service.station.simulating.by_hand import lower_edge, play_by_hand
from tests.service.live import ROOT, RUN
from tests.service.station.simulating.line import line, playing

TYPED = """\
set TriggerEnable BufferEnable
command SelectModeAutomatic
command PrepareRecipe 1
set Triger
wait Busy within 10ms
part cell-7
help
quit
part never
"""


def test_lines_of_a_pipe_are_steps_and_an_error_ends_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(TYPED))

    async def work():
        async with asyncio.timeout(30), playing("client") as (station, player, said):
            await play_by_hand(player, said.append)
            return station, said, lower_edge(player)

    station, said, edge = asyncio.run(work())
    assert station.taken == [(1, "cell-7")]
    text = "\n".join(said)
    assert "did you mean Trigger?" in text
    assert "not within 0.01 s; the station shows Online  Ready" in text
    assert "result of 1 'cell-7': Verdict=OK" in text
    assert "quit                            end" in text
    assert "[TriggerEnable]  Trigger   ResultsAck  [BufferEnable]" in edge
    assert "[Online] [Ready]  TriggerAck " in edge
    assert "State=READY" in edge


def test_a_terminal_has_a_prompt_and_shows_the_bits_live(tmp_path):
    """`mambaad station simulate-plc --by-hand` in a terminal of its own."""

    async def work():
        async with line("client") as (station, _):
            (tmp_path / "station.yaml").write_text(FILE.format(port=station.door.port), "utf-8")
            output = await typed_in_terminal(
                tmp_path,
                ("set TriggerEnable BufferEnable", lambda: station.inputs.trigger_enable),
                ("command SelectModeAutomatic", lambda: station.image.state is State.INITIALIZED),
                ("command PrepareRecipe 1", lambda: station.image.ready),
                ("part cell-7", lambda: station.taken and not station.image.buffered),
                ("quit", lambda: True),
            )
            return station, output

    station, output = asyncio.run(work())
    assert station.taken == [(1, "cell-7")]
    assert "[TriggerEnable]" in output
    assert "result of 1 'cell-7': Verdict=OK" in output


FILE = """\
name: EL-3
plc:
  modbus:
    port: {port}
cameras:
  top:
    folder:
      path: shots
recipes:
  1:
    categories:
      top: bolt
"""


async def typed_in_terminal(folder, *lines):
    """Type each line, and wait for its effect; return all that the terminal showed."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    command = ["-c", RUN, "station", "simulate-plc", str(folder / "station.yaml"), "--by-hand"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    output = bytearray()

    def read():
        try:
            data = os.read(master, 65_536)
            output.extend(data)
            if b"\x1b[6n" in data:  # where is the cursor?
                os.write(master, b"\x1b[1;1R")
        except OSError:
            asyncio.get_running_loop().remove_reader(master)

    async def type_all():
        while b"plc>" not in output:
            await asyncio.sleep(0.02)
        for text, is_done in lines:
            os.write(master, f"{text}\r".encode())
            while not is_done():
                await asyncio.sleep(0.02)
        assert await process.wait() == 0

    asyncio.get_running_loop().add_reader(master, read)
    try:
        await asyncio.wait_for(type_all(), 40)
    except TimeoutError:
        raise AssertionError(output.decode(errors="replace")) from None
    finally:
        asyncio.get_running_loop().remove_reader(master)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)
    return output.decode(errors="replace")
