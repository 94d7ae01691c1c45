"""Opens the PostgreSQL of the shared state for a command, and says why it cannot be used."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from pydantic import ValidationError

from service.settings import Settings, SettingsError, StateSettings

if TYPE_CHECKING:
    from service.shared.link import Link
    from service.shared.transfer import CommandAuthor

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Such as postgresql://user@host/database; by default MAMBAAD_STATE__URL.",
    ),
]


def state_settings(command: str, url: str | None) -> StateSettings | None:
    """Return the settings of the shared state, with another URL if one is given; None without.

    Invalid settings end the program.
    """
    try:
        state = Settings().state
        if url is not None:
            state = StateSettings.model_validate({**state.model_dump(), "url": url})
    except (SettingsError, ValidationError) as error:
        refuse(command, reason_of(error))
    return state if state.url else None


def reason_of(error: SettingsError | ValidationError) -> str:
    """Return why settings are invalid, without the values, which may hold a password."""
    if isinstance(error, ValidationError):
        return "; ".join(str(fault["msg"]) for fault in error.errors(include_input=False))
    return str(error)


@contextmanager
def opened(command: str, settings: StateSettings | None) -> Iterator["tuple[Link, CommandAuthor]"]:
    """Yield a link, and who uses it; errors end the program with one line."""
    if settings is None:
        refuse(command, "no PostgreSQL: give --url, or set MAMBAAD_STATE__URL")
    # Imported late, so that --help is fast and works without the extra.
    from service.access.keys import KeysUnusable  # noqa: PLC0415
    from service.database.schema import SchemaUnusable  # noqa: PLC0415
    from service.errors import SharedStateUnavailable  # noqa: PLC0415

    try:
        from service.shared.link import Link  # noqa: PLC0415
        from service.shared.transfer import CommandAuthor, TransferRefused  # noqa: PLC0415
    except ModuleNotFoundError as error:
        refuse(command, f"{error.name} is missing: pip install 'mambaad-service[postgresql]'")
    node = Settings().archive.node_name
    try:
        link = Link(settings, node)
    except ValueError as error:
        refuse(command, str(error))
    try:
        yield link, CommandAuthor(_user(), node)
    except (KeysUnusable, SchemaUnusable, SharedStateUnavailable, TransferRefused) as error:
        refuse(command, str(error))
    finally:
        link.close()


def refuse(command: str, line: str) -> NoReturn:
    """End the program with one line."""
    typer.echo(f"mambaad {command}: {line}", err=True)
    raise typer.Exit(2)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
