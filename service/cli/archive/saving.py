"""`mambaad archive backup`, `restore` and `migrate`."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.archive.options import ARCHIVE_FOLDER, State, archive_folder, settings
from service.cli.archive.progress import fractions
from service.cli.archive.refusing import refuse, refusing


def backup(
    target: Annotated[Path, typer.Argument(help="New folder for the backup.")],
    state: State = None,
) -> None:
    """Copy the archive into a new folder; its service may run meanwhile.

    Rows are those of one moment. On the archive's own disk, images are linked instead of copied:
    that protects from a mistake, not from a broken disk.
    """
    from service.archive import backup as backups  # noqa: PLC0415 - keeps --help fast

    folder = archive_folder(state)
    with refusing(), fractions() as show:
        manifest = backups.backup(folder, target, show).manifest
    typer.echo(
        f"{target}: {manifest.inspections} inspections, {manifest.media_files} images and raw maps "
        f"with {_size(manifest.media_bytes)}, journal {_size(manifest.journal_bytes)}"
    )
    if manifest.missing_files:
        typer.echo(
            f"{manifest.missing_files} files that rows keep were not there: "
            "`mambaad archive check` lists them",
            err=True,
        )


def restore(
    source: Annotated[Path, typer.Argument(help="Folder of a backup.")],
    state: State = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move an archive that is there into a folder beside it.")
    ] = False,
) -> None:
    """Verify a backup and put it into the state folder; stop the service first.

    Sinks go on from where they were at the backup, so results may be delivered again.
    """
    from service.archive import backup as backups  # noqa: PLC0415 - keeps --help fast

    state = state or settings().versions.state_dir
    if state is None:
        refuse("where? give --state FOLDER, or set MAMBAAD_VERSIONS__STATE_DIR")
    with refusing(), fractions() as show:
        restored = backups.restore(source, state / ARCHIVE_FOLDER, force=force, progress=show)
    typer.echo(f"{state / ARCHIVE_FOLDER}: {restored.manifest.inspections} inspections restored")
    if restored.replaced:
        typer.echo(f"The archive that was there is now in {restored.replaced}")


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

    url = url or settings().archive.url
    if url is None:
        refuse("no PostgreSQL: give its URL, or set MAMBAAD_ARCHIVE__URL")
    with refusing():
        try:
            migration = migrating.migrate(url)
        except ValueError as error:
            refuse(str(error))
    if migration.before == migration.after:
        typer.echo(f"nothing to do: the tables have schema {migration.after}")
    else:
        typer.echo(f"schema {migration.before or 'none'} -> {migration.after}")


def _size(nbytes: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} GB"
