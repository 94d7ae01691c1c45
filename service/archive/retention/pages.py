"""The journal's size: pages of SQLite that are in use, and free ones given back to the disk."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from service.archive.journal import Journal

_SLICE = 256
_MAX_FREE = 0.05
"""Free pages are used for new rows; only a larger share of them goes back to the disk."""
_MIN_PAGES = 1_000


@dataclass(frozen=True, slots=True)
class FileSize:
    """Pages of the journal's file, those of them that are free, and the bytes of each."""

    pages: int
    free_pages: int
    page_bytes: int

    @property
    def used_bytes(self) -> int:
        """Bytes of the pages in use."""
        return (self.pages - self.free_pages) * self.page_bytes


def file_size(connection: Connection) -> FileSize:
    """Return the size of a connection's SQLite file."""
    names = ("page_count", "freelist_count", "page_size")
    return FileSize(*(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names))


def give_back_pages(journal: Journal, pause: Callable[[], bool]) -> None:
    """Shorten the file while many of its pages are free; needs `auto_vacuum=INCREMENTAL`.

    `pause` is called between slices, and returns whether to stop.
    """
    with journal.reading() as connection:
        size = file_size(connection)
    surplus = size.free_pages - max(_MIN_PAGES, int(_MAX_FREE * size.pages))
    for _ in range(0, surplus, _SLICE):
        journal.write_now(_give_back, patient=True)
        if pause():
            break


def _give_back(connection: Connection) -> None:
    # A call frees one page, though it may ask for more: Python takes one step of a statement
    # without columns.
    for _ in range(_SLICE):
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
