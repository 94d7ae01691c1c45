"""What an inspection asks of the archive, which implements it in `service.archive.recorder`."""

from collections.abc import Sequence
from typing import Protocol

from model.inspection import Decision
from service.inspection.request import PartRequest
from service.inspection.result import Attempt, PartResult
from service.inspection.submission import Submission


class PartRecorder(Protocol):
    """Records parts; used from one event loop."""

    def maps_of(self, submission: Submission) -> frozenset[Decision]:
        """Return the decisions for which the maps of a part are kept."""
        ...

    async def recall(self, part: PartRequest, deadline: float) -> PartResult | None:
        """Return the journaled result of a part's id; None if the part has to be inspected.

        If the part says what the line was told, the journal is told first. Findings have their map
        if the part's options want one and the archive has kept it. Raises `InspectionIdReused` if
        the id belongs to another part, `DeadlineExceeded`, or `JournalUnavailable`.
        """
        ...

    async def record(
        self, part: PartRequest, result: PartResult, attempts: Sequence[Attempt], deadline: float
    ) -> PartResult:
        """Record a part; return the result with `archived`, or the journal's if it had one.

        `deadline` is by the event loop's clock. Raises `DeadlineExceeded` if the write had not
        begun by then, `JournalUnavailable` if the part must not pass unrecorded, or
        `InspectionIdReused`. Then the part is not recorded.
        """
        ...

    def refuse(self, part: PartRequest, slug: str, detail: str) -> None:
        """Record a part that got this problem, without images and without waiting."""
        ...
