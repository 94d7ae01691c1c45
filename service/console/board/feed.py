"""Follows the journal for the page Live: one board for all browsers, read when one looks.

feed = LiveFeed(journal, node="line-1", starts=[time(6)], zone=UTC)
board = await feed.current()
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, tzinfo

from service.archive.journal import Journal
from service.console.board.board import Board, Tile, follow, load
from service.console.board.shifts import shift_at

_MAX_DRAWN = 500


@dataclass(slots=True)
class LiveFeed:
    """The board of this node's journal; `newest` is the journal's newest number that it heard."""

    journal: Journal
    node: str
    starts: Sequence[time]
    zone: tzinfo
    newest: int = 0
    board: Board | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _drawn: dict[Hashable, tuple[Tile, str]] = field(default_factory=dict)

    def listen(self) -> None:
        """Hear of the journal's commits."""
        self.journal.on_commit(self._notice)

    async def current(self) -> Board:
        """Return the board as of now. Raises `JournalUnavailable`."""
        async with self._turn:  # many browsers, one reader
            board, now = self.board, datetime.now(UTC)
            if board is not None and board.number >= self.newest and now < board.shift.until:
                return board
            self.board = await asyncio.to_thread(self._read, board, now)
            self.newest = max(self.newest, self.board.number)
            return self.board

    def html(self, key: Hashable, tile: Tile, draw: Callable[[], str]) -> str:
        """Return a tile's HTML, drawn once for all browsers with the same key."""
        drawn = self._drawn.get(key)
        if drawn is None or drawn[0] is not tile:
            if len(self._drawn) > _MAX_DRAWN:
                self._drawn.clear()
            drawn = self._drawn[key] = (tile, draw())
        return drawn[1]

    def _read(self, board: Board | None, now: datetime) -> Board:
        with self.journal.reading() as connection:
            if board is None or now >= board.shift.until:
                return load(connection, self.node, shift_at(now, self.starts, self.zone))
            return follow(connection, board)

    def _notice(self, number: int) -> None:
        """Note the newest number; the journal's thread calls this."""
        self.newest = max(self.newest, number)
