"""`mambaad station`: runs the station beside the machine, checks it, and simulates its PLC."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from service.cli import opcua
from service.settings import ClientSettings

if TYPE_CHECKING:
    from service.client import AsyncClient
    from service.station.settings import StationSettings
    from service.station.simulating import Report, SimulatorSettings

commands = typer.Typer(
    help="Run the station beside the machine: PLC and camera here, the inspection service there.",
    no_args_is_help=True,
)

commands.command("opcua-certificate")(opcua.make_certificate)
commands.command("opcua-user")(opcua.set_user)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The station's file.")]
_DEFAULT_FILE = Path("station.yaml")
_UNUSABLE = 2


@commands.command()
def run(file: File = _DEFAULT_FILE) -> None:
    """Run the station until a signal. It is no safety function."""
    settings = _read(file)
    raise typer.Exit(asyncio.run(_run(settings)))


@commands.command()
def check(file: File = _DEFAULT_FILE) -> None:
    """Connect to everything, show each value, change nothing; what is inspected is a test.

    Exit code: 0 if the station could run, else 2. A camera's image is one that arrives during the
    check; a folder that gets none is said.
    """
    from service.station.commissioning import check_station  # noqa: PLC0415 - keeps --help fast

    settings = _read(file)

    async def work() -> int:
        async with _client(settings) as client:
            checks = await check_station(settings, client)
        for check in checks:
            typer.echo(f"{'ok ' if check.is_sound else 'NOT'}  {check.what}: {check.value}")
        return 0 if all(check.is_sound for check in checks) else _UNUSABLE

    raise typer.Exit(asyncio.run(work()))


@commands.command()
def symbols() -> None:
    """Print every bit and register as CSV, for the PLC's project."""
    from service.station.plc.modbus_map import symbols_csv  # noqa: PLC0415

    typer.echo(symbols_csv(), nl=False)


@commands.command("simulate-plc")
def simulate_plc(
    file: File = _DEFAULT_FILE,
    *,
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

    Exit code: 0 if every part got its own result, 1 if not.
    """
    from service.station.simulating import SimulatorSettings  # noqa: PLC0415

    settings = _read(file)
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
    raise typer.Exit(asyncio.run(_simulate(settings, simulator, images)))


async def _run(settings: "StationSettings") -> int:
    """Run the station until a signal; return the exit code."""
    from service.station.plc.door import DoorClosed  # noqa: PLC0415
    from service.station.plc.opening import open_door  # noqa: PLC0415
    from service.station.spool import SpoolFailure, SpoolUnusable  # noqa: PLC0415
    from service.station.station import Station  # noqa: PLC0415
    from service.telemetry.logs import configure_logging  # noqa: PLC0415

    configure_logging("WARNING", "text")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _client(settings) as client:
        make_door = partial(open_door, settings.plc, station=settings, client=client)
        try:
            station = Station(settings, client, make_door)
            await station.open()
        except (SpoolFailure, SpoolUnusable, DoorClosed) as error:
            _refuse(str(error))
        typer.echo(
            f"Station {settings.name} on {station.door.address}, service {client.url}; "
            f"{station.waiting} parts in the spool. It is no safety function."
        )
        await stop.wait()
        await station.close()
    return 0


async def _simulate(
    settings: "StationSettings", simulator: "SimulatorSettings", images: Path | None
) -> int:
    """Play the PLC, print each result, and return the exit code."""
    from pymodbus import pymodbus_apply_logging_config  # noqa: PLC0415

    from service.station.plc.layout import WordOrder  # noqa: PLC0415
    from service.station.simulating import SimulatedPlc  # noqa: PLC0415

    modbus = settings.plc.modbus
    if modbus is None:
        _refuse("the simulated PLC talks to plc.modbus, which the file does not have")
    # pymodbus repeats that the station is not there yet.
    pymodbus_apply_logging_config(logging.CRITICAL)
    camera = _simulated_camera(settings, simulator.recipe, images)
    order = WordOrder(modbus.word_order)
    plc = SimulatedPlc((modbus.host, modbus.port), simulator, camera, order)
    return _print(await plc.run())


def _simulated_camera(
    settings: "StationSettings", recipe: int, images: Path | None
) -> "Callable[[int], Awaitable[None]]":
    from service.station.simulating import SimulatedCamera, no_camera  # noqa: PLC0415

    if recipe not in settings.recipes:
        _refuse(f"recipe {recipe} is not in the file; there are {sorted(settings.recipes)}")
    if images is None:
        return no_camera
    watched = [
        camera.folder
        for name in settings.recipes[recipe].categories
        if (camera := settings.cameras[name]).folder is not None
    ]
    if len(watched) != 1:
        _refuse(
            f"--images needs one camera that watches a folder; recipe {recipe} has {len(watched)}"
        )
    try:
        return SimulatedCamera(images, watched[0]).expose
    except (OSError, ValueError) as error:
        _refuse(str(error))


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
    return 1 if report.problems or report.missing else 0


def _read(file: Path) -> "StationSettings":
    try:
        import pymodbus  # noqa: F401, PLC0415 - every command but `symbols` needs it
        import yaml  # noqa: F401, PLC0415

        from service.station.station_file import (  # noqa: PLC0415
            StationFileInvalid,
            read_station_file,
        )
    except ModuleNotFoundError as error:
        _refuse(f"{error.name} is not installed: pip install 'mambaad-service[station]'")
    try:
        return read_station_file(file)
    except StationFileInvalid as error:
        _refuse(*str(error).splitlines())


def _client(settings: "StationSettings") -> "AsyncClient":
    """Return the client of the service, with the key of the file or of MAMBAAD_API_KEY."""
    from service.client import AsyncClient  # noqa: PLC0415

    file = settings.server.api_key_file
    given = ClientSettings()
    key = given.api_key.get_secret_value() if given.api_key else None
    if file is not None:
        try:
            key = file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            _refuse(f"the API key in {file} cannot be read: {error}")
    try:
        return AsyncClient(str(settings.server.url or given.url), api_key=key)
    except ValueError as error:
        _refuse(f"the address of the service: {error}")


def _refuse(*lines: str) -> NoReturn:
    for line in lines:
        typer.echo(f"mambaad station: {line}", err=True)
    raise typer.Exit(_UNUSABLE)
