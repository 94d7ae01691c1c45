"""`mambaad station`: runs the station beside the machine, checks it, and simulates its PLC."""

import asyncio
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import opcua
from service.cli.station_file import UNUSABLE, File, end, read_file, refuse
from service.cli.station_simulation import simulate_plc
from service.settings import ClientSettings

if TYPE_CHECKING:
    from service.client import AsyncClient
    from service.station.commissioning import CheckedImage
    from service.station.settings import StationSettings

commands = typer.Typer(
    help="Run the station beside the machine: PLC and camera here, the inspection service there.",
    no_args_is_help=True,
)

_DEFAULT_FILE = Path("station.yaml")


class LogLevel(StrEnum):
    """The least important lines of the log."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class LogFormat(StrEnum):
    """The log for people, or for programs."""

    TEXT = "text"
    JSON = "json"


@commands.command()
def run(
    file: File = _DEFAULT_FILE,
    *,
    log_level: Annotated[
        LogLevel, typer.Option(help="The least important lines of the log.")
    ] = LogLevel.WARNING,
    log_format: Annotated[
        LogFormat, typer.Option(help="For people, or one JSON object a line.")
    ] = LogFormat.TEXT,
) -> None:
    """Run the station until a signal. It is no safety function."""
    settings = read_file(file)
    from service.cli.station_run import configure_logs, run_station  # noqa: PLC0415

    configure_logs(log_level, log_format)
    end(asyncio.run(run_station(settings, partial(_client, settings), refuse)))


@commands.command()
def check(
    file: File = _DEFAULT_FILE,
    *,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write each camera's image into this folder."),
    ] = None,
) -> None:
    """Connect to everything, show each value, change nothing; what is inspected is a test.

    Exit code: 0 if the station could run, else 2. A camera's image is one that arrives during the
    check; a folder that gets none is said.
    """
    from service.station.commissioning import check_station  # noqa: PLC0415 - keeps --help fast

    settings = read_file(file)

    async def work() -> int:
        async with _client(settings) as client:
            checks = await check_station(settings, client)
        for check in checks:
            typer.echo(f"{'ok ' if check.is_sound else 'NOT'}  {check.what}: {check.value}")
            if check.image is not None and save is not None:
                _save(save, check.image)
        return 0 if all(check.is_sound for check in checks) else UNUSABLE

    end(asyncio.run(work()))


class SymbolFormat(StrEnum):
    """How symbols are written."""

    CSV = "csv"
    ST = "st"


@commands.command()
def symbols(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The station's file: its addresses and word order."),
    ] = None,
    form: Annotated[
        SymbolFormat,
        typer.Option("--format", help="A table, or a function block in structured text."),
    ] = SymbolFormat.CSV,
) -> None:
    """Print every bit and register for the PLC's project.

    csv: a table. st: an IEC 61131-3 function block with types for the registers and the PLC's side
    of the handshake; it was not tried on a PLC.
    """
    from service.station.plc.layout import WordOrder  # noqa: PLC0415
    from service.station.plc.modbus_map import Places, symbols_csv  # noqa: PLC0415
    from service.station.plc.structured_text import function_block  # noqa: PLC0415

    places, order = Places(), WordOrder.BIG
    if file is not None:
        plc = read_file(file).plc
        if (door := plc.modbus_client or plc.modbus) is None:
            refuse("the file has neither plc.modbus nor plc.modbus_client: there are no registers")
        order = WordOrder(door.word_order)
        if plc.modbus_client is not None:
            places = Places(plc.modbus_client.inputs_at, plc.modbus_client.outputs_at)
    is_table = form is SymbolFormat.CSV
    typer.echo(symbols_csv(places) if is_table else function_block(places, order), nl=False)


commands.command("simulate-plc")(simulate_plc)
commands.command("opcua-certificate")(opcua.make_certificate)
commands.command("opcua-user")(opcua.set_user)


def _save(folder: Path, image: "CheckedImage") -> None:
    path = folder / f"{image.camera}{image.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.content)
    except OSError as error:
        refuse(f"{path} cannot be written: {error.strerror}")
    typer.echo(f"     {path}")


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
            refuse(f"the API key in {file} cannot be read: {error}")
    url = str(settings.server.url or given.url)
    try:
        return AsyncClient(url, api_key=key, ca_file=settings.server.ca_file or given.ca_file)
    except ValueError as error:
        refuse(f"the address of the service: {error}")
