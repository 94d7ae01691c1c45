"""Faults that a check of the archive can find."""

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """A kind of fault, and in its value the words for it."""

    NO_FILE = "the row's file is missing"
    NO_ROW = "no row keeps the file"
    ALTERED = "the file was altered"
    FOREIGN = "the file is not the archive's"
    ROLLUP = "the roll-up differs from the rows"
    DATABASE = "the journal is damaged"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: of which file, inspection or roll-up, and the particulars."""

    fault: Fault
    subject: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.subject}: {self.fault.value}{detail}"
