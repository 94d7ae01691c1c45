"""`mambaad keys`: makes, lists and removes API keys."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from service.access.keys import KeysUnusable, add_key, read_keys, remove_key
from service.http.declaration import Scope
from service.settings import Settings, SettingsError

commands = typer.Typer(
    help="API keys: make one, list them, take one back. A running service notices within a second.",
    no_args_is_help=True,
)

File = Annotated[
    Path | None, typer.Option("--file", help="Keys file; by default MAMBAAD_ACCESS__API_KEYS_FILE.")
]
Name = Annotated[str, typer.Option(help="Who will use it; the log names it.")]


@commands.command()
def new(
    name: Name,
    scope: Annotated[list[Scope], typer.Option(help="What it is good for; once for each.")],
    rate: Annotated[float | None, typer.Option(help="Images a second that it may send.")] = None,
    file: File = None,
) -> None:
    """Make a key, print it, and keep only its hash: it cannot be shown a second time."""
    try:
        secret = add_key(_file(file), name, scope, rate)
    except KeysUnusable as error:
        _refuse(str(error))
    typer.echo(secret)


@commands.command("list")
def show(file: File = None) -> None:
    """List the keys: name, scopes, rate and when each was made."""
    try:
        for key in read_keys(_file(file)):
            rate = f"{key.rate_per_s:g}/s" if key.rate_per_s else "-"
            made = f"{key.created:%Y-%m-%d}" if key.created else "-"
            typer.echo(f"{key.name}  {','.join(sorted(key.scopes))}  {rate}  {made}")
    except KeysUnusable as error:
        _refuse(str(error))


@commands.command()
def remove(name: Name, file: File = None) -> None:
    """Take a key back."""
    try:
        remove_key(_file(file), name)
    except KeysUnusable as error:
        _refuse(str(error))


def _file(given: Path | None) -> Path:
    try:
        path = given or Settings().access.api_keys_file
    except SettingsError as error:
        _refuse(str(error))
    if path is None:
        _refuse("which file? give --file, or set MAMBAAD_ACCESS__API_KEYS_FILE")
    return path


def _refuse(line: str) -> NoReturn:
    typer.echo(f"mambaad keys: {line}", err=True)
    raise typer.Exit(2)
