"""All sinks of a service: started, watched, tried again, stopped.

async with delivering(settings, journal, metrics) as deliveries:
    deliveries.status()
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from service.archive.events import last_number
from service.archive.journal import Journal
from service.archive.positions import positions
from service.delivery.ledger import DeadLetter, Ledger
from service.delivery.message import MessageMaker
from service.delivery.outbox import Outbox, Period
from service.delivery.reruns import Replay, Retry
from service.delivery.sender import Sender, SinkStatus
from service.delivery.sinks.opening import opened
from service.delivery.sinks.sink import Place
from service.errors import JournalUnavailable, NoSuchSink
from service.settings import Settings
from service.telemetry.metrics import Metrics

logger = logging.getLogger("service.deliveries")

_STOP_THREADS = 32
_DRAIN_POLL_S = 0.05


class Deliveries:
    """The senders by name; without a sink there is nothing to do. Methods block for the disk."""

    def __init__(
        self,
        senders: Sequence[Sender],
        ledgers: Mapping[str, Ledger],
        journal: Journal | None,
    ) -> None:
        self._senders = {sender.name: sender for sender in senders}
        self._ledgers = ledgers
        self._journal = journal

    @classmethod
    def none(cls) -> "Deliveries":
        """Return the deliveries of a service without sinks."""
        return cls([], {}, None)

    def start(self) -> None:
        """Start every sender after its position."""
        if self._journal is None:
            return
        self._journal.on_commit(self._notice)
        try:
            with self._journal.reading() as connection:
                newest, known = last_number(connection), positions(connection)
        except JournalUnavailable as error:  # the senders try again
            logger.warning("the sinks' positions cannot be read: %s", error)
            newest, known = 0, {}
        self._notice(newest)
        for name in sorted(known.keys() - self._senders.keys()):
            logger.warning(
                "the sink %s is no longer in the settings: it took events up to %d, and the "
                "retention no longer waits for it", name, known[name],
            )  # fmt: skip
        for sender in self._senders.values():
            sender.start()

    def drain(self, within_s: float) -> None:
        """Let every sink take what waits for it; blocks for `within_s` seconds at most."""
        end = time.monotonic() + within_s
        while (waiting := [sink for sink in self.status() if sink.depth]) and within_s:
            if time.monotonic() > end:
                logger.warning(
                    "not delivered within %g s, and left in the journal: %s", within_s,
                    ", ".join(f"{sink.depth} events for the sink {sink.sink}" for sink in waiting),
                )  # fmt: skip
                return
            time.sleep(_DRAIN_POLL_S)

    def stop(self) -> None:
        """Stop all senders, side by side."""
        if self._senders:
            with ThreadPoolExecutor(_STOP_THREADS, "stop-sink") as threads:
                list(threads.map(Sender.stop, self._senders.values()))

    def status(self) -> list[SinkStatus]:
        """Return the state of every sink, by name; does not block."""
        return [sender.status() for _, sender in sorted(self._senders.items())]

    def count_dead(self) -> dict[str, int]:
        """Return the number of dead letters of every sink."""
        return {name: ledger.count_dead() for name, ledger in self._ledgers.items()}

    def dead(self, sink: str, limit: int) -> list[DeadLetter]:
        """Return a sink's newest dead letters. Raises `NoSuchSink`."""
        self._sender(sink)
        return self._ledgers[sink].dead(limit)

    def retry(self, sink: str) -> int:
        """Try a sink and its dead letters now; return how many these are. Raises `NoSuchSink`."""
        sender = self._sender(sink)
        count = self._ledgers[sink].count_dead()
        sender.retry(Retry(sink) if count else None)
        return count

    def try_now(self, sink: str) -> None:
        """Try a held sink at once; does not block. Raises `NoSuchSink`."""
        self._sender(sink).retry()

    def replay(self, sink: str, since: datetime, until: datetime) -> int:
        """Send the events of a period again, among new ones; does not block.

        Events that wait for the sink are not part of it; returns the number of the last that may
        be. It ends with the service. Raises `NoSuchSink` or `Conflict`.
        """
        sender = self._sender(sink)
        through = sender.status().position
        sender.retry(Replay(Period(since, until, through)))
        return through

    def _sender(self, sink: str) -> Sender:
        if sink not in self._senders:
            have = ", ".join(sorted(self._senders)) or "none"
            raise NoSuchSink(f"there is no sink {sink[:100]!r}; have: {have}")
        return self._senders[sink]

    def _notice(self, number: int) -> None:
        for sender in self._senders.values():
            sender.notice(number)


def deliveries_of(
    settings: Settings,
    journal: Journal,
    metrics: Metrics,
    find_image: Callable[[str, datetime], Path | None] | None = None,
) -> Deliveries:
    """Return the deliveries that the settings ask for, not started. Raises `SinkUnusable`."""
    node = settings.archive.node_name
    site = settings.archive.site
    place = Place(site, settings.delivery.service_name or node, node, find_image)
    senders, ledgers = [], {}
    for name, of_sink in settings.delivery.sinks.items():
        sink = opened(name, of_sink, place)
        ledgers[name] = Ledger(journal, name, of_sink.max_dead_letters, metrics)
        outbox = Outbox(journal, MessageMaker(site, node), of_sink)
        senders.append(Sender(name, of_sink, sink, outbox, ledgers[name], metrics))
    return Deliveries(senders, ledgers, journal)
