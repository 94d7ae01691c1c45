"""The requests of a soak, and their outcomes."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from benchmarks.soaking.exchange import Reply

NO_ROOM_NO_TIME = {503, 504}
RESTART_S = 120.0
"""How long the replacement of a killed worker may take; meanwhile 503 and 504 are right."""

LATE_S = 2.0
"""Margin for answers that the service gave before and that arrive later."""


@dataclass
class Tally:
    """The requests sent and their outcomes; `wrong` lists the wrong answers."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    sent: list[tuple[float, float, str]] = field(default_factory=list)
    """The time of sending and of answering of each hostile request, and its name."""

    killed_at: float = math.inf
    restored_at: float = math.inf

    def expect(self, kind: str, response: httpx.Response, allowed: set[int]) -> None:
        """Count an answer; no room and no time are allowed until a killed worker is replaced."""
        self.outcomes[f"{kind} {response.status_code}"] += 1
        end = min(self.restored_at + LATE_S, self.killed_at + RESTART_S)
        restarting = self.killed_at <= time.monotonic() < end
        says_when = response.status_code == 503 and "retry-after" in response.headers
        if restarting and (says_when or response.status_code == 504):
            return
        if response.status_code not in allowed:
            self.wrong.append(f"{kind}: {response.status_code} {response.text[:200]}")
        elif response.status_code >= 400 and response.headers.get("x-decision") == "OK":
            self.wrong.append(f"{kind}: OK with {response.status_code}")

    def during(self, start: float, seconds: float) -> list[str]:
        """Name the hostile requests in flight during an interval."""
        return [name for at, end, name in self.sent if at < start + seconds and end > start]

    def expect_refusal(self, name: str, reply: Reply) -> None:
        """Count the outcome of a hostile request: a status below 500, no room, no time, or nothing.

        A refused request must not read as OK; a valid image may be inspected, whatever it costs.
        """
        self.outcomes[f"hostile {reply.status or 'cut off'}"] += 1
        status = reply.status or 400
        if status >= 500 and status not in NO_ROOM_NO_TIME:
            self.wrong.append(f"{name}: {status} {reply.body[:200]!r}")
        elif status >= 400 and reply.decision == "OK":
            self.wrong.append(f"{name}: OK with {status}")
