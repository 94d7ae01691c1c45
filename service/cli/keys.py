"""`mambaad keys`: creates, lists and removes API keys."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from service.access.keys import KeysUnusable, add_key, read_keys, remove_key
from service.http.declaration import Scope
from service.settings import Settings, SettingsError

commands = typer.Typer(
    help="Create, list and remove API keys. A running service notices within a second.",
    no_args_is_help=True,
)

File = Annotated[
    Path | None, typer.Option("--file", help="Keys file; by default MAMBAAD_ACCESS__API_KEYS_FILE.")
]
Name = Annotated[str, typer.Option(help="The key's user; appears in the log.")]


@commands.command()
def new(
    name: Name,
    scope: Annotated[
        list[Scope], typer.Option(help="Permission of the key; repeat the option for several.")
    ],
    rate: Annotated[float | None, typer.Option(help="Limit in images a second.")] = None,
    file: File = None,
) -> None:
    """Create a key and print it once; the file stores only its hash."""
    try:
        secret = add_key(_file(file), name, scope, rate)
    except KeysUnusable as error:
        _refuse(str(error))
    typer.echo(secret)


@commands.command("list")
def show(file: File = None) -> None:
    """List the keys: name, scopes, rate and date of creation."""
    try:
        for key in read_keys(_file(file)):
            rate = f"{key.rate_per_s:g}/s" if key.rate_per_s else "-"
            made = f"{key.created:%Y-%m-%d}" if key.created else "-"
            typer.echo(f"{key.name}  {','.join(sorted(key.scopes))}  {rate}  {made}")
    except KeysUnusable as error:
        _refuse(str(error))


@commands.command()
def remove(name: Name, file: File = None) -> None:
    """Remove a key."""
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
        _refuse("no keys file: give --file, or set MAMBAAD_ACCESS__API_KEYS_FILE")
    return path


def _refuse(line: str) -> NoReturn:
    typer.echo(f"mambaad keys: {line}", err=True)
    raise typer.Exit(2)
