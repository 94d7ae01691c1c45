"""What only the routes of `/inspections` need."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request

from service.access.guard import Caller
from service.archive.identifiers import parse_id
from service.archive.media import Media
from service.archive.records import InspectionRecord
from service.archive.searching.archive import Archive
from service.archive.searching.cursors import Cursors
from service.archive.searching.viewing import Medium, read_medium, sha256_of
from service.errors import InvalidRequest, MediaDamaged, NoArchive
from service.inspection.redrawing import Redrawer


@dataclass(frozen=True, slots=True)
class InspectionsDoor:
    """The archive, its files, and what searches and draws in it; `node` is this service's name."""

    archive: Archive
    media: Media
    cursors: Cursors
    redrawer: Redrawer
    node: str

    async def find_media(self, inspection_id: UUID) -> InspectionRecord:
        """Return an inspection as this node has it, which knows best what became of its files."""
        return (await self.archive.find(inspection_id, here_first=True)).inspection

    async def read(self, inspection: InspectionRecord, number: int, medium: Medium) -> bytes:
        """Return a view's file. Raises as `read_medium`."""
        read = partial(read_medium, self.media, self.node, number=number, medium=medium)
        try:
            return await asyncio.to_thread(read, inspection)
        except MediaDamaged:
            # The retention may have deleted the file since the row was read: then that is said.
            again = await self.find_media(inspection.inspection_id)
            sha256_of(again, number, medium, self.node)
            raise


def find_door(request: Request) -> InspectionsDoor | None:
    """Return the door of a request's service; None if it keeps no inspections."""
    door: InspectionsDoor | None = getattr(request.app.state, "inspections", None)
    return door


async def _door(request: Request) -> InspectionsDoor:  # async: else it would run in a thread
    door = find_door(request)
    if door is None:
        raise NoArchive(
            "this service keeps no inspections: set MAMBAAD_VERSIONS__STATE_DIR, and "
            "MAMBAAD_ARCHIVE__ENABLED if it is false"
        )
    return door


InspectionsDoorDependency = Annotated[InspectionsDoor, Depends(_door)]


async def _identifier(
    inspection_id: Annotated[
        str, Path(description="a UUIDv7", examples=["0192f0c1-2c3a-7def-8123-456789abcdef"])
    ],
) -> UUID:
    return id_in(inspection_id)


def id_in(text: str) -> UUID:
    """Return an inspection's id. Raises `InvalidRequest`."""
    try:
        return parse_id(text)
    except ValueError as error:
        raise InvalidRequest(f"inspection_id: {error}") from error


InspectionId = Annotated[UUID, Depends(_identifier)]
"""The id in the path. Raises `InvalidRequest`."""


def author_of(request: Request, who: str | None) -> str:
    """Return who asks: the person, and the key's name; without a person, that name."""
    caller: Caller = request.scope["state"]["caller"]
    return f"{who} ({caller.name})" if who else caller.name
