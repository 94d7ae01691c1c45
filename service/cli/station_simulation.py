"""`mambaad station simulate-plc`: the PLC's side at random, from a script, or by hand."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.station_file import File, read_file, refuse

if TYPE_CHECKING:
    from service.station.settings import StationSettings
    from service.station.simulating import Report, SimulatorSettings
    from service.station.simulating.camera import Expose
    from service.station.simulating.links import Link
    from service.station.simulating.playing import Player

_FAILED = 1


def simulate_plc(
    file: File = Path("station.yaml"),
    *,
    script: Annotated[
        Path | None, typer.Option(help="Play the steps of this file, a step a line.")
    ] = None,
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="Play the steps that you type; `help` lists them.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder of images that the simulated camera takes.")
    ] = None,
    parts: Annotated[int, typer.Option(min=1, help="Parts to trigger.")] = 10,
    recipe: Annotated[int, typer.Option(min=1, help="Recipe to prepare.")] = 1,
    first_number: Annotated[int, typer.Option(min=1, help="Trigger number of the first part.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    max_delay_ms: Annotated[
        float, typer.Option(min=0, help="Longest pause between two scans of the PLC.")
    ] = 20.0,
    drops_early: Annotated[
        float, typer.Option(min=0, max=1, help="Share of triggers that fall before TriggerAck.")
    ] = 0.0,
    acks_late: Annotated[
        float, typer.Option(min=0, max=1, help="Share of results that the PLC acknowledges late.")
    ] = 0.0,
    restarts: Annotated[
        float, typer.Option(min=0, max=1, help="Share of scans after which the PLC restarts.")
    ] = 0.0,
) -> None:
    """Play the PLC's side of a running station, and its camera if the station watches a folder.

    Triggers --parts parts, or plays a --script, or takes steps --by-hand. The PLC is a Modbus
    client, or the server if the file has plc.modbus_client; then start it on the PLC's address.

    Exit code: 0 if every part got its own result and every step of a script passed, 1 if not,
    2 if nothing could begin.
    """
    from service.station.simulating import SimulatorSettings  # noqa: PLC0415

    if script is not None and by_hand:
        refuse("--script and --by-hand exclude each other")
    settings = read_file(file)
    simulator = SimulatorSettings(
        parts=parts,
        recipe=recipe,
        seed=seed,
        first_number=first_number,
        max_delay_ms=max_delay_ms,
        drops_early=drops_early,
        acks_late=acks_late,
        restarts=restarts,
    )
    camera = _simulated_camera(settings, recipe, images)
    stage = _Stage(settings, simulator, camera)
    if script is not None:
        raise typer.Exit(asyncio.run(stage.play_script(script)))
    work = stage.play_by_hand() if by_hand else stage.play_at_random()
    raise typer.Exit(asyncio.run(work))


@dataclass(frozen=True, slots=True)
class _Stage:
    """Everything that the simulation needs; each method returns the exit code."""

    settings: "StationSettings"
    simulator: "SimulatorSettings"
    camera: "Expose | None"

    async def play_at_random(self) -> int:
        """Trigger parts, and print each result."""
        from service.station.simulating import SimulatedPlc, no_camera  # noqa: PLC0415

        link = await self._open_link()
        report = await SimulatedPlc(link, self.simulator, self.camera or no_camera).run()
        return _print(report)

    async def play_script(self, path: Path) -> int:
        """Play the steps of a file."""
        from service.station.simulating.playing import play  # noqa: PLC0415
        from service.station.simulating.steps import ScriptInvalid, read_script  # noqa: PLC0415

        try:
            steps = read_script(path)
        except ScriptInvalid as error:
            refuse(*str(error).splitlines())

        async def work(player: "Player") -> None:
            await play(steps, player, path, typer.echo)
            typer.echo(f"all {len(steps)} steps of {path} passed")

        return await self._with_player(work)

    async def play_by_hand(self) -> int:
        """Play the steps that somebody types."""
        from service.station.simulating.by_hand import play_by_hand  # noqa: PLC0415

        return await self._with_player(lambda player: play_by_hand(player, print))

    async def _with_player(self, work: "Callable[[Player], Awaitable[None]]") -> int:
        from service.station.simulating.playing import Player, StepFailed  # noqa: PLC0415

        link = await self._open_link()
        first = self.simulator.first_number
        try:
            async with Player(link, print, self.camera, first) as player:
                await work(player)
        except StepFailed as error:
            typer.echo(f"FAILED: {error}", err=True)
            return _FAILED
        return 0

    async def _open_link(self) -> "Link":
        """Return the link to the station; a PLC that is the server listens from now on."""
        from pymodbus import pymodbus_apply_logging_config  # noqa: PLC0415

        from service.station.simulating.links import PortTaken, StationAway  # noqa: PLC0415

        # pymodbus repeats that the station is not there yet.
        pymodbus_apply_logging_config(logging.CRITICAL)
        link = _link(self.settings)
        try:
            await link.open()
        except PortTaken as error:
            refuse(str(error))
        except StationAway as error:
            typer.echo(f"{error} yet; waiting for it")
        return link


def _link(settings: "StationSettings") -> "Link":
    from service.station.plc.layout import WordOrder  # noqa: PLC0415
    from service.station.simulating.links import ClientLink, ServerLink  # noqa: PLC0415

    if (client := settings.plc.modbus_client) is not None:
        return ServerLink(client)
    modbus = settings.plc.modbus
    if modbus is None:
        refuse(
            "the simulated PLC talks to plc.modbus or plc.modbus_client; the file has another door"
        )
    return ClientLink(modbus.host, modbus.port, WordOrder(modbus.word_order))


def _simulated_camera(
    settings: "StationSettings", recipe: int, images: Path | None
) -> "Expose | None":
    from service.station.simulating import SimulatedCamera  # noqa: PLC0415

    if recipe not in settings.recipes:
        refuse(f"recipe {recipe} is not in the file; there are {sorted(settings.recipes)}")
    if images is None:
        return None
    watched = [
        camera.folder
        for name in settings.recipes[recipe].categories
        if (camera := settings.cameras[name]).folder is not None
    ]
    if len(watched) != 1:
        refuse(
            f"--images needs one camera that watches a folder; recipe {recipe} has {len(watched)}"
        )
    try:
        return SimulatedCamera(images, watched[0]).expose
    except (OSError, ValueError) as error:
        refuse(str(error))


def _print(report: "Report") -> int:
    for number, verdict in sorted(report.verdicts.items()):
        typer.echo(f"{number:6}  {report.part_ids.get(number, '?'):24}  {verdict.name}")
    for problem in report.problems:
        typer.echo(f"WRONG: {problem}")
    for number in sorted(report.missing):
        typer.echo(f"MISSING: the result of {number}")
    typer.echo(
        f"{len(report.part_ids)} triggers, {len(report.acknowledged)} acknowledged, "
        f"{len(report.verdicts)} results"
    )
    return _FAILED if report.problems or report.missing else 0
