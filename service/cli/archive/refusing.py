"""Ends a command of `mambaad archive` with one line that says why."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from service.errors import ServiceError

REFUSED = 2
"""Exit code of a command that could not do what it was asked."""


def refuse(line: str) -> NoReturn:
    """End the program."""
    typer.echo(f"mambaad archive: {line}", err=True)
    raise typer.Exit(REFUSED)


@contextmanager
def refusing() -> Iterator[None]:
    """End the program with the message of an expected error."""
    from service.archive.backup import BackupFailed, RestoreRefused  # noqa: PLC0415
    from service.archive.migrate import SchemaUnusable  # noqa: PLC0415 - keeps --help fast
    from service.archive.sqlite.failures import DiskFailed, JournalUnusable  # noqa: PLC0415
    from service.cli.asking import Refused  # noqa: PLC0415

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        refuse("psycopg is not installed: pip install 'mambaad-service[postgresql]'")
    except (BackupFailed, DiskFailed, JournalUnusable, RestoreRefused, SchemaUnusable) as error:
        refuse(str(error))
    except (Refused, ServiceError, OSError) as error:
        refuse(str(error))
