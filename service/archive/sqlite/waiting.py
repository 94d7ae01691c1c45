"""Writes that wait for the writing thread.

    write = Write(inspection, on_settled)
    waiting.put(write)
    ...
    waiting.withdraw(write)         # False if the thread has begun it

A write is waiting, begun or withdrawn. Only a waiting one can be withdrawn.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from service.archive.records import InspectionRecord
from service.archive.sqlite.failures import unwritable
from service.archive.sqlite.refusals import Refusals

GROUP = 256
"""Writes that share a commit at most."""
GATHER_S = 0.003
"""While writes come fast, a group waits this long for others that may share its commit."""
_FAST_S = 0.03
"""Writes come fast if the group before was claimed less than this ago."""
_ENOUGH = 8
"""A group of so many does not wait for others."""


@dataclass(eq=False, slots=True)
class Write:
    """An inspection to record, or any other change; and what waits for its outcome."""

    content: InspectionRecord | Callable[[Connection], Any]
    future: Any = None
    value: Any = None
    error: BaseException | None = None


class WaitingWrites:
    """A bounded queue in the order of arrival, the patient writes behind all others."""

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._condition = threading.Condition()
        self._ordinary: OrderedDict[Write, None] = OrderedDict()
        self._patient: OrderedDict[Write, None] = OrderedDict()
        self._refusals = Refusals()
        self._is_closed = False
        self._latest_claim_s = -math.inf

    def __len__(self) -> int:
        return len(self._ordinary) + len(self._patient)

    def put(self, write: Write, *, patient: bool = False) -> None:
        """Add a write. Raises `JournalUnavailable` if too many wait, or after `close`."""
        with self._condition:
            if self._is_closed:
                raise unwritable("the service is stopping")
            if len(self) >= self._max_pending:
                raise unwritable(
                    f"{self._max_pending} writes are waiting, which is the limit: the disk is too "
                    "slow"
                )
            (self._patient if patient else self._ordinary)[write] = None
            self._condition.notify()

    def put_refusal(self, refusal: InspectionRecord) -> bool:
        """Add a refusal without waiting; return False if it was dropped."""
        with self._condition:
            if self._is_closed or not self._refusals.add(refusal, time.monotonic()):
                return False
            self._condition.notify()
            return True

    def withdraw(self, write: Write) -> bool:
        """Remove a write that waits; return False if it does not wait any more."""
        with self._condition:
            for queue in (self._ordinary, self._patient):
                if write in queue:
                    del queue[write]
                    return True
            return False

    def claim(self, timeout_s: float | None) -> tuple[list[Write], bool]:
        """Wait for writes, and begin the next group of them; and whether there will be more.

        The group is empty after `timeout_s`, and after `close` when no write is left.
        """
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        with self._condition:
            while not (group := self._next_group()) and not self._is_closed:
                wait_s = self._wait_s(ends)
                if wait_s is not None and wait_s <= 0:
                    break
                self._condition.wait(wait_s)
            goes_on = bool(group) or not self._is_closed
        if group:
            self._gather(group)
        return group, goes_on

    def close(self) -> None:
        """Refuse all further writes; those that wait can still be claimed."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def _gather(self, group: list[Write]) -> None:
        """Add writes that come within a moment, if writes come fast.

        The parts of a batch are decided at the same moment, and a commit of its own for each costs
        more than the wait. A lone part never waits.
        """
        now = time.monotonic()
        is_fast = now - self._latest_claim_s < _FAST_S
        if is_fast and len(group) < _ENOUGH and not self._is_closed:
            time.sleep(GATHER_S)
            with self._condition:
                group += _pop(self._ordinary, GROUP - len(group))
        self._latest_claim_s = time.monotonic()

    def _next_group(self) -> list[Write]:
        group = _pop(self._ordinary, GROUP)
        refusals = self._refusals.take(time.monotonic(), everything=self._is_closed)
        group += [Write(refusal) for refusal in refusals]
        return group or _pop(self._patient, 1)

    def _wait_s(self, ends: float | None) -> float | None:
        """Return how long nothing can happen by itself, in seconds; None: for ever."""
        times = [moment for moment in (ends, self._refusals.next_due()) if moment is not None]
        return min(times) - time.monotonic() if times else None


def _pop(queue: OrderedDict[Write, None], count: int) -> list[Write]:
    return [queue.popitem(last=False)[0] for _ in range(min(count, len(queue)))]
