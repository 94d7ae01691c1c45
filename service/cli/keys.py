"""`mambaad keys`: creates, lists and removes API keys, in a file or in the state of all nodes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from service.access.keys import (
    ApiKey,
    KeysUnusable,
    add_key,
    new_key,
    read_keys,
    remove_key,
    with_key,
    without_key,
)
from service.cli.sharing import Url, opened, refuse, state_settings
from service.http.declaration import Scope
from service.settings import Settings, SettingsError, StateSettings
from service.versions.state import Action

commands = typer.Typer(
    help="Create, list and remove API keys. A running service notices within a second. With "
    "MAMBAAD_STATE__URL the keys are those of all nodes.",
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
    url: Url = None,
) -> None:
    """Create a key and print it once; only its hash is stored."""
    try:
        if shared := _shared(file, url):
            key, secret = new_key(name, scope, rate)
            _change(shared, "key-created", name, partial(with_key, key=key))
        else:
            secret = add_key(_file(file), name, scope, rate)
    except KeysUnusable as error:
        _refuse(str(error))
    typer.echo(secret)


@commands.command("list")
def show(file: File = None, url: Url = None) -> None:
    """List the keys: name, scopes, rate and date of creation."""
    try:
        for key in _listed(file, url):
            rate = f"{key.rate_per_s:g}/s" if key.rate_per_s else "-"
            made = f"{key.created:%Y-%m-%d}" if key.created else "-"
            typer.echo(f"{key.name}  {','.join(sorted(key.scopes))}  {rate}  {made}")
    except KeysUnusable as error:
        _refuse(str(error))


@commands.command()
def remove(name: Name, file: File = None, url: Url = None) -> None:
    """Remove a key."""
    try:
        if shared := _shared(file, url):
            _change(shared, "key-withdrawn", name, partial(without_key, name=name))
        else:
            remove_key(_file(file), name)
    except KeysUnusable as error:
        _refuse(str(error))


def _shared(file: Path | None, url: str | None) -> StateSettings | None:
    """Return the settings of the shared state, unless the command is about a file."""
    if file is not None and url is not None:
        _refuse("give --file or --url, not both")
    return None if file is not None else state_settings("keys", url)


def _listed(file: Path | None, url: str | None) -> Sequence[ApiKey]:
    shared = _shared(file, url)
    if shared is None:
        return read_keys(_file(file))
    with opened("keys", shared) as (link, _):
        from service.shared.transfer import read_state  # noqa: PLC0415 - needs an extra's package

        return read_state(link).keys


def _change(
    shared: StateSettings,
    action: Action,
    name: str,
    change_of: Callable[[Sequence[ApiKey]], Sequence[ApiKey]],
) -> None:
    with opened("keys", shared) as (link, author):
        from service.shared.transfer import change_keys  # noqa: PLC0415 - needs an extra's package

        change_keys(link, author, author.record(action, "mambaad keys", name), change_of)


def _file(given: Path | None) -> Path:
    try:
        path = given or Settings().access.api_keys_file
    except SettingsError as error:
        _refuse(str(error))
    if path is None:
        _refuse("no keys file: give --file, or set MAMBAAD_ACCESS__API_KEYS_FILE")
    return path


def _refuse(line: str) -> NoReturn:
    refuse("keys", line)
