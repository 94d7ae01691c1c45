"""`mambaad archive`: finds, exports, deletes, saves and checks the inspections that are kept.

mambaad archive search --station EL-3 --told NG --since 2026-11-29
"""

import typer

from service.cli.archive.checking import check
from service.cli.archive.exporting import export
from service.cli.archive.finding import search, show
from service.cli.archive.purging import purge
from service.cli.archive.saving import backup, migrate, restore

commands = typer.Typer(
    help="Find, export, delete, save and check the inspections that are kept.",
    no_args_is_help=True,
)
for command in (search, show, export, purge, backup, restore, check, migrate):
    commands.command()(command)
