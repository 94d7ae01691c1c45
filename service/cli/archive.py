"""`mambaad archive`: looks after the inspections that are kept."""

from typing import Annotated, NoReturn

import typer

from service.settings import Settings, SettingsError

commands = typer.Typer(help="Look after the archive of inspections.", no_args_is_help=True)


@commands.command()
def migrate(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]",
            help="Such as postgresql://user@host/database; by default MAMBAAD_ARCHIVE__URL.",
        ),
    ] = None,
) -> None:
    """Bring a PostgreSQL to this release's tables; a journal needs no command.

    Older releases can go on using it. Put the password into PGPASSWORD or ~/.pgpass.
    """
    from service.archive import migrate as migrating  # noqa: PLC0415 - keeps --help fast

    try:
        migration = migrating.migrate(url or _url())
    except ModuleNotFoundError as error:
        _refuse(f"{error.name} is not installed: pip install 'mambaad-service[postgresql]'")
    except (migrating.SchemaUnusable, ValueError) as error:
        _refuse(str(error))
    if migration.before == migration.after:
        typer.echo(f"nothing to do: the tables have schema {migration.after}")
    else:
        typer.echo(f"schema {migration.before or 'none'} -> {migration.after}")


def _url() -> str:
    try:
        url = Settings().archive.url
    except SettingsError as error:
        _refuse(str(error))
    if url is None:
        _refuse("no PostgreSQL: give its URL, or set MAMBAAD_ARCHIVE__URL")
    return url


def _refuse(line: str) -> NoReturn:
    typer.echo(f"mambaad archive: {line}", err=True)
    raise typer.Exit(2)
