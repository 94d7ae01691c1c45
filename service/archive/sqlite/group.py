"""Writes a group in one transaction.

newest = write_group(connection, "line-1", group)
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from service.archive import events
from service.archive.journal import AlreadyRecorded
from service.archive.records import InspectionRecord
from service.archive.sqlite.failures import disk_failure
from service.archive.sqlite.recording import record_all
from service.archive.sqlite.waiting import Write

Run: TypeAlias = dict[UUID, tuple[Write, InspectionRecord]]


def write_group(connection: Connection, node: str, group: Sequence[Write]) -> int:
    """Write and commit a group; return the number of the newest event.

    A change that raises is undone alone; its write has the error. Any other error undoes the group.
    """
    with connection.begin():
        for run in runs(group):
            if isinstance(run, Write):
                _change(connection, run)
            else:
                _record(connection, node, run)
        return events.last_number(connection)


def runs(group: Iterable[Write]) -> list[Write | Run]:
    """Split a group, in order: other changes, and inspections with different ids by their ids."""
    split: list[Write | Run] = []
    run: Run = {}
    for write in group:
        content = write.content
        if not isinstance(content, InspectionRecord):
            split.append(write)
            run = {}
            continue
        if not run or content.inspection_id in run:  # recorded before, it is there for this one
            split.append(run := {})
        run[content.inspection_id] = write, content
    return split


def _record(connection: Connection, node: str, run: Run) -> None:
    outcomes = record_all(connection, node, [inspection for _, inspection in run.values()])
    for (write, _), outcome in zip(run.values(), outcomes, strict=True):
        if isinstance(outcome, AlreadyRecorded):
            write.error = outcome
        else:
            write.value = outcome


def _change(connection: Connection, write: Write) -> None:
    assert not isinstance(write.content, InspectionRecord)
    savepoint = connection.begin_nested()
    try:
        write.value = write.content(connection)
        savepoint.commit()
    except Exception as error:
        if disk_failure(error):  # SQLite may have undone the whole transaction
            raise
        write.error = error
        savepoint.rollback()
