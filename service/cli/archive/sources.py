"""Where inspections are read: a journal, beside its service or without; a PostgreSQL; a service.

with open_source(options) as source:
    for page in source.pages(query):
        ...
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol
from uuid import UUID

import httpx
from sqlalchemy import Connection

from service.api.inspections.queries import FilterQuery
from service.api.inspections.schemas import InspectionAnswer, InspectionRow, PageAnswer
from service.archive import store
from service.archive.media import Media, MediaError
from service.archive.migrate import SchemaUnusable, schema_of
from service.archive.searching import judging
from service.archive.searching.archive import Found
from service.archive.searching.central import CentralDatabase
from service.archive.searching.search import Position, search
from service.archive.sqlite.connections import Readers
from service.cli.archive.options import SourceOptions, archive_folder
from service.cli.archive.refusing import refuse
from service.cli.asking import Refused, ask, service_client
from service.errors import NoSuchInspection

_PAGE = 500
_QUERY_LIMIT_S = 300.0


class ImageUnavailable(Exception):
    """A view's image cannot be had; the message says why."""


class Source(Protocol):
    """An archive to read."""

    def pages(self, query: FilterQuery) -> Iterator[Sequence[InspectionRow]]:
        """Yield the inspections that the query matches, newest first."""
        ...

    def find(self, identifier: UUID) -> InspectionAnswer:
        """Return one inspection with all that is known. Raises `ServiceError`."""
        ...

    def image(self, row: InspectionRow, view: int) -> bytes:
        """Return a view's image, its hash verified. Raises `ImageUnavailable`."""
        ...

    def path(self, row: InspectionRow, view: int) -> Path | None:
        """Return the file of a view's image, if it is on this machine."""
        ...


@contextmanager
def open_source(options: SourceOptions) -> Iterator[Source]:
    """Open the archive that the options name; ends the program if that is not one."""
    if options.url is not None:
        with service_client(options.url, options.key) as client:
            yield ServiceSource(client)
    elif options.database is not None:
        media = _media(archive_folder(options.state)) if options.state else None
        central = _central(options.database)
        try:
            yield DatabaseSource(central.reading, media)
        finally:
            central.close()
    else:
        with open_journal(archive_folder(options.state)) as reading:
            yield DatabaseSource(reading, _media(archive_folder(options.state)))


@contextmanager
def open_journal(folder: Path) -> Iterator[Callable[[], AbstractContextManager[Connection]]]:
    """Open a journal read-only, also beside a running service. Raises `SchemaUnusable`."""
    readers = Readers(folder / "journal.db")
    try:
        with readers.reading() as connection:
            schema = schema_of(connection)
            schema.check_usable()
        if schema.is_older:
            raise SchemaUnusable(
                f"the journal in {folder} has the schema {schema.revision} of an older release: "
                "start this release's service once, which brings it up to date"
            )
        yield readers.reading
    finally:
        readers.close()


def _central(url: str) -> CentralDatabase:
    try:
        return CentralDatabase(url, _QUERY_LIMIT_S)
    except ValueError as error:
        refuse(f"--database: {error}")


def _media(folder: Path) -> Media:
    return Media(folder / "media", min_free_bytes=0)


class DatabaseSource:
    """A journal or a PostgreSQL; images come from this node's files."""

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[Connection]],
        media: Media | None,
    ) -> None:
        self._reading = reading
        self._media = media

    def pages(self, query: FilterQuery) -> Iterator[Sequence[InspectionRow]]:
        """Yield the inspections that the query matches, newest first."""
        wanted = query.wanted
        after: Position | None = None
        while True:
            with self._reading() as connection:
                page = search(connection, wanted, _PAGE, after)
            yield [InspectionRow.of(record) for record in page.inspections]
            after = page.end
            if after is None:
                return

    def find(self, identifier: UUID) -> InspectionAnswer:
        """Return one inspection. Raises `NoSuchInspection`."""
        with self._reading() as connection:
            record = store.find(connection, identifier)
            if record is None:
                raise NoSuchInspection(f"no inspection {identifier}")
            verdicts = judging.verdicts_of(connection, identifier)
            found = Found(record, verdicts, judging.holds_of(connection, identifier))
        return InspectionAnswer.of_found(found)

    def image(self, row: InspectionRow, view: int) -> bytes:
        """Return a view's image. Raises `ImageUnavailable`."""
        image = row.views[view].image
        if image.state != "kept" or image.sha256 is None:
            raise ImageUnavailable(f"image {image.state}")
        if self._media is None:
            raise ImageUnavailable(f"on node {row.node}: give --state, if it is this one")
        try:
            return self._media.read(image.sha256, row.received_at.date())
        except MediaError as error:
            raise ImageUnavailable(str(error)) from error

    def path(self, row: InspectionRow, view: int) -> Path | None:
        """Return the file of a view's image, if it is on this machine."""
        image = row.views[view].image
        if self._media is None or image.sha256 is None or image.state != "kept":
            return None
        try:
            return self._media.find(image.sha256, row.received_at.date())
        except MediaError:
            return None


class ServiceSource:
    """A running service."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def pages(self, query: FilterQuery) -> Iterator[Sequence[InspectionRow]]:
        """Yield the inspections that the query matches, newest first."""
        params = query.model_dump(mode="json", exclude_defaults=True) | {"limit": _PAGE}
        while True:
            answer = ask(self._client, "GET", "/inspections", params=params)
            page = PageAnswer.model_validate_json(answer.content)
            yield page.inspections
            if page.cursor is None:
                return
            params["cursor"] = page.cursor

    def find(self, identifier: UUID) -> InspectionAnswer:
        """Return one inspection. Raises `Refused`."""
        answer = ask(self._client, "GET", f"/inspections/{identifier}")
        return InspectionAnswer.model_validate_json(answer.content)

    def image(self, row: InspectionRow, view: int) -> bytes:
        """Return a view's image. Raises `ImageUnavailable`."""
        image = row.views[view].image
        if image.state != "kept":
            raise ImageUnavailable(f"image {image.state}")
        try:
            path = f"/inspections/{row.inspection_id}/image"
            return ask(self._client, "GET", path, params={"view": view}).content
        except Refused as error:
            raise ImageUnavailable(str(error)) from error

    def path(self, row: InspectionRow, view: int) -> Path | None:
        """Return None: the files are the service's."""
        return None
