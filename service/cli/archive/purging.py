"""`mambaad archive purge`: deletes inspections by a filter."""

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from model.option_groups import grouped
from service.cli.archive.options import FilterOptions, Key, State, Url, archive_folder, settings
from service.cli.archive.progress import fractions
from service.cli.archive.refusing import refuse, refusing

if TYPE_CHECKING:
    import httpx

    from service.api.inspections.queries import FilterQuery
    from service.archive.retention import Preview, Purger
    from service.archive.searching.search import Position


class _Purge(Protocol):
    """A purge, through the service or without one."""

    def preview(self) -> "Preview":
        """Count what it would delete."""
        ...

    def pages(self) -> Iterator[tuple[int, int]]:
        """Delete page by page; yield the inspections and files that a page deleted."""
        ...


@grouped
def purge(
    wanted: FilterOptions,
    state: State = None,
    url: Url = None,
    key: Key = None,
    media_only: Annotated[
        bool, typer.Option("--media-only", help="Delete images and raw maps, and keep the rows.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    who: Annotated[
        str | None, typer.Option(help="Who decided, for the log; by default the login name.")
    ] = None,
) -> None:
    """Delete inspections of a node, with their files; summaries go on counting them.

    Inspections that are held, or that a sink has not taken, stay. While a service runs, it deletes
    them: give its --url and a key with the scope admin. For example:

      mambaad archive purge --state state --category trial --until 2026-11-01

      mambaad archive purge --url http://line-3:8000 --part 4711
    """
    query = wanted.query()
    if not query.model_dump(exclude_defaults=True):
        refuse("name what to delete, such as --until TIME")
    who = who or getpass.getuser()
    with refusing(), _purge(query, state, url, key, media_only=media_only, who=who) as purging:
        preview = purging.preview()
        _print(preview)
        if dry_run or not preview.deletable:
            return
        noun = "the files of up to" if media_only else "up to"
        if not yes:
            typer.confirm(f"Delete {noun} {preview.deletable} inspections?", abort=True, err=True)
        deleted = files = 0
        with fractions() as show:
            for inspections_, files_ in purging.pages():
                deleted, files = deleted + inspections_, files + files_
                show("deleted", deleted / preview.deletable)
    typer.echo(f"{deleted} inspections{' lost' if media_only else ' and'} {files} files deleted.")


def _print(preview: "Preview") -> None:
    by_decision = ", ".join(f"{number} {told}" for told, number in preview.by_decision.items())
    typer.echo(f"{preview.matched} inspections match{': ' if by_decision else ''}{by_decision}")
    if preview.oldest and preview.newest:
        times = (
            f"{moment.astimezone():%Y-%m-%d %H:%M}" for moment in (preview.oldest, preview.newest)
        )
        typer.echo(f"received from {' to '.join(times)}")
    if preview.held:
        typer.echo(f"{preview.held} are held and stay")
    if preview.not_delivered:
        typer.echo(f"{preview.not_delivered} were not delivered to every sink yet and stay")


@contextmanager
def _purge(
    query: "FilterQuery",
    state: Path | None,
    url: str | None,
    key: str | None,
    *,
    media_only: bool,
    who: str,
) -> Iterator[_Purge]:
    from service.cli.asking import service_client  # noqa: PLC0415 - keeps --help fast

    if url is not None:
        with service_client(url, key) as client:
            yield _ThroughService(client, query, media_only=media_only, who=who)
    else:
        with _purger(archive_folder(state)) as purger:
            yield _Alone(purger, query, media_only=media_only, who=who)


@contextmanager
def _purger(folder: Path) -> "Iterator[Purger]":
    """Open an archive that no service has."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - keeps --help fast

    from service.archive.media import Media  # noqa: PLC0415
    from service.archive.positions import positions  # noqa: PLC0415
    from service.archive.retention import Purger  # noqa: PLC0415
    from service.archive.sqlite.failures import JournalUnusable  # noqa: PLC0415
    from service.archive.sqlite_journal import SqliteJournal  # noqa: PLC0415
    from service.telemetry.metrics.retention import RetentionMetrics  # noqa: PLC0415

    given = settings()
    try:
        journal = SqliteJournal.open(folder, given.archive.node or socket.gethostname())
    except JournalUnusable as error:
        refuse(f"{error}; if that is right, purge through it: --url URL")
    try:
        # Sinks that the service has, but not this program's environment, count too.
        with journal.reading() as connection:
            sinks = {*positions(connection), *given.delivery.sinks}
        media = Media(folder / "media", min_free_bytes=0)
        metrics = RetentionMetrics(CollectorRegistry())
        yield Purger(journal, media, sinks=sorted(sinks), metrics=metrics)
    finally:
        journal.close()


class _Alone:
    """A purge without a service."""

    def __init__(
        self, purger: "Purger", query: "FilterQuery", *, media_only: bool, who: str
    ) -> None:
        self._purger = purger
        self._wanted = query.wanted
        self._media_only = media_only
        self._who = who

    def preview(self) -> "Preview":
        """Count what it would delete."""
        return self._purger.preview(self._wanted)

    def pages(self) -> Iterator[tuple[int, int]]:
        """Delete page by page."""
        after: Position | None = None
        while True:
            purged = self._purger.purge(
                self._wanted, after, media_only=self._media_only, who=self._who
            )
            yield purged.deleted, purged.files
            after = purged.end
            if after is None:
                return


class _ThroughService:
    """A purge by a running service."""

    def __init__(
        self, client: "httpx.Client", query: "FilterQuery", *, media_only: bool, who: str
    ) -> None:
        self._client = client
        self._body: dict[str, Any] = {
            "filter": query.model_dump(mode="json", exclude_defaults=True),
            "media_only": media_only,
            "who": who,
        }

    def preview(self) -> "Preview":
        """Count what it would delete."""
        from pydantic import TypeAdapter  # noqa: PLC0415 - keeps --help fast

        from service.archive.retention import Preview  # noqa: PLC0415

        return TypeAdapter(Preview).validate_python(self._ask(dry_run=True)["preview"])

    def pages(self) -> Iterator[tuple[int, int]]:
        """Delete page by page."""
        cursor: str | None = None
        while True:
            answer = self._ask(cursor=cursor)
            yield answer["deleted"], answer["files"]
            cursor = answer["cursor"]
            if cursor is None:
                return

    def _ask(self, **fields: object) -> dict[str, Any]:
        from service.cli.asking import ask  # noqa: PLC0415 - keeps --help fast

        answer = ask(self._client, "POST", "/inspections/purge", json={**self._body, **fields})
        content: dict[str, Any] = answer.json()
        return content
