"""`mambaad archive check`: compares rows, files and roll-ups."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.archive.options import State, archive_folder
from service.cli.archive.progress import fractions
from service.cli.archive.refusing import refusing

if TYPE_CHECKING:
    from service.archive.checking.problems import Problem
    from service.archive.media import Media
    from service.archive.retention.sweep import Reading

    Check = tuple[str, Callable[[], Iterator[Problem]]]

HAS_PROBLEMS = 1
"""Exit code of a check that found a problem."""


def check(
    state: State = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Move files without a row to media/orphans; stop the service first."
        ),
    ] = False,
    hashes: Annotated[
        bool, typer.Option("--hashes/--no-hashes", help="Read every file, and compare its hash.")
    ] = True,
) -> None:
    """Check that every row has its files, every file its row and its hash, and the roll-ups.

    The service may run meanwhile. Files younger than an hour may wait for their row. Exit code: 0
    without a problem, 1 with a list of problems, 2 if the archive cannot be checked.
    """
    from service.archive.media import Media  # noqa: PLC0415 - keeps --help fast
    from service.archive.sqlite.connections import Readers  # noqa: PLC0415
    from service.archive.sqlite.lock import FolderLock  # noqa: PLC0415

    folder = archive_folder(state)
    with refusing():
        lock = FolderLock(folder)
        if repair:
            lock.hold()
        readers = Readers(folder / "journal.db")
        try:
            media = Media(folder / "media", min_free_bytes=0)
            if repair:
                _repair(readers.reading, media)
            problems = _run(readers.reading, media, with_hashes=hashes)
        finally:
            readers.close()
            lock.release()
    if problems:
        typer.echo(f"{problems} problems.", err=True)
        raise typer.Exit(HAS_PROBLEMS)
    typer.echo("No problem.", err=True)


def _run(reading: "Reading", media: "Media", *, with_hashes: bool) -> int:
    """Print the problems that the checks find, and return their number."""
    number = 0
    with fractions() as show:
        for name, problems in _checks(reading, media, show, with_hashes=with_hashes):
            show(name, 0.0)
            for problem in _caught(problems):
                number += 1
                typer.echo(str(problem))
            show(name, 1.0)
    return number


def _checks(
    reading: "Reading", media: "Media", show: Callable[[str, float], None], *, with_hashes: bool
) -> "Iterator[Check]":
    from service.archive.checking.database import check_database  # noqa: PLC0415
    from service.archive.checking.files import (  # noqa: PLC0415
        check_hashes,
        check_rows,
        check_strays,
    )
    from service.archive.checking.rollups import check_rollups  # noqa: PLC0415

    yield "journal", lambda: check_database(reading)
    yield "rows", lambda: check_rows(reading, media)
    yield "files", lambda: check_strays(reading, media)
    if with_hashes:
        yield "hashes", lambda: check_hashes(media, lambda done: show("hashes", done))
    yield "roll-ups", lambda: check_rollups(reading)


def _caught(check: "Callable[[], Iterator[Problem]]") -> "Iterator[Problem]":
    """Yield a check's problems; a journal that cannot be read is one."""
    from sqlalchemy.exc import DatabaseError  # noqa: PLC0415 - keeps --help fast

    from service.archive.checking.problems import Fault, Problem  # noqa: PLC0415
    from service.errors import JournalUnavailable  # noqa: PLC0415

    try:
        yield from check()
    except (DatabaseError, JournalUnavailable) as error:
        yield Problem(Fault.DATABASE, "journal.db", str(getattr(error, "orig", error)))


def _repair(reading: "Reading", media: "Media") -> None:
    from service.archive.checking.files import move_orphan, orphans  # noqa: PLC0415

    for file in orphans(reading, media):
        target: Path = move_orphan(media, file)
        typer.echo(f"moved {file.path.name} to {target.parent}")
