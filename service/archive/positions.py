"""How far each sink has got: the number of the last event that it has taken.

first = undelivered_from(connection, settings.delivery.sinks)    # the retention stops here
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.sqlite import insert

from service.archive.events import last_number
from service.archive.tables import events, sinks


def positions(connection: Connection) -> dict[str, int]:
    """Return the position of every sink that ever delivered."""
    return {sink: position for sink, position, _ in connection.execute(select(sinks))}


def save_position(connection: Connection, sink: str, position: int) -> None:
    """Write a sink's position, in a change of the journal."""
    row = {"sink": sink, "position": position, "at": datetime.now(UTC)}
    statement = insert(sinks).values(row)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[sinks.c.sink], set_=statement.excluded)
    )


def undelivered_from(connection: Connection, configured: Iterable[str]) -> int:
    """Return the number of the first event that a configured sink may still need.

    Everything below it has been delivered to all of them. A sink that is no longer in the settings
    needs nothing; one that never ran may need every event.
    """
    reached = positions(connection)
    newest = last_number(connection)
    return 1 + min((reached.get(sink, 0) for sink in configured), default=newest)


def oldest_number(connection: Connection) -> int | None:
    """Return the number of the oldest event; None without events."""
    oldest: int | None = connection.execute(select(func.min(events.c.number))).scalar()
    return oldest
