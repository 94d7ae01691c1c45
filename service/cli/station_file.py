"""The argument FILE of `mambaad station`, and how the commands refuse."""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from service.station.settings import StationSettings

File = Annotated[Path, typer.Argument(metavar="FILE", help="The station's file.")]
UNUSABLE = 2


def read_file(file: Path) -> "StationSettings":
    """Return the settings in a file, or end the program."""
    try:
        import pymodbus  # noqa: F401, PLC0415 - every command but `symbols` needs it
        import watchfiles  # noqa: F401, PLC0415
        import yaml  # noqa: F401, PLC0415

        from service.station.station_file import (  # noqa: PLC0415
            StationFileInvalid,
            read_station_file,
        )
    except ModuleNotFoundError as error:
        refuse(f"{error.name} is not installed: pip install 'mambaad-service[station]'")
    try:
        settings = read_station_file(file)
    except StationFileInvalid as error:
        refuse(*str(error).splitlines())
    from service.station.cameras.opening import missing_library  # noqa: PLC0415

    for name, camera in settings.cameras.items():
        if library := missing_library(camera):
            refuse(
                f"camera {name}: {library} is not installed: "
                "pip install 'mambaad-service[station,cameras]'"
            )
    return settings


def refuse(*lines: str) -> NoReturn:
    """End the program with a message."""
    for line in lines:
        typer.echo(f"mambaad station: {line}", err=True)
    raise typer.Exit(UNUSABLE)


def end(code: int) -> NoReturn:
    """End the program, although the driver of a camera may not return."""
    from service.station.cameras.reading import threads_left  # noqa: PLC0415

    if threads_left():
        # Python would end such a thread inside of the driver's C++, which aborts the process.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)
