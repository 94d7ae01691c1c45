"""One thread a sink: reads events in order, sends them, and moves the position on.

sender = Sender("mes", settings, sink, outbox, ledger, metrics)
sender.start()
sender.notice(number)       # a newer event is in the journal
sender.stop()
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service.delivery.breaker import Breaker, BreakerState
from service.delivery.health import Health
from service.delivery.ledger import DeadLetter, Ledger, dead_letter
from service.delivery.message import Parcel
from service.delivery.outbox import Outbox, Reading
from service.delivery.progress import Progress
from service.delivery.reruns import Rerun
from service.delivery.sinks.sink import Held, Outcome, Reason, Refused, Sink
from service.errors import Conflict, JournalUnavailable
from service.settings.sinks import CommonSettings
from service.telemetry.metrics import Metrics

logger = logging.getLogger("service.sender")

_TEND_EVERY_S = 0.5
_CHUNK_S = 0.1
"""A backlog is sent in pieces that take so long at `max_per_s`, so that inspections wait little."""

_STOP_S = 3.0
_MAX_RERUNS = 10


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """A sink at a moment; `position` is the number of the last event that it has taken."""

    sink: str
    type: str
    breaker: BreakerState
    position: int
    depth: int
    oldest_age_s: float
    delivered: int
    last_error: str | None
    last_error_at: datetime | None
    next_try_s: float
    reruns: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What became of parcels: how many are done, those that are dead, and why the next is held."""

    done: Sequence[Parcel]
    dead: Sequence[DeadLetter]
    held: Held | None
    error: Exception | None = None

    def last_done(self, reading: Reading, before: int) -> int:
        """Return the number of the last event that is done."""
        if len(self.done) == len(reading.parcels):
            return reading.last
        return self.done[-1].event.number if self.done else before


class Sender:
    """Delivers to one sink, strictly in the order of the journal."""

    def __init__(
        self,
        name: str,
        settings: CommonSettings,
        sink: Sink,
        outbox: Outbox,
        ledger: Ledger,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self._settings = settings
        self._sink = sink
        self._outbox = outbox
        self._ledger = ledger
        self._metrics = metrics
        self._progress = Progress(ledger, at_oldest=settings.start == "oldest")
        self._breaker = Breaker(settings.backoff_s, settings.max_backoff_s)
        self._health = Health(name, self._breaker, metrics)
        self._reruns: deque[Rerun] = deque()
        self._send_at = 0.0
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)

    def start(self) -> None:
        """Find the position, and start the thread; blocks."""
        self._export()
        try:
            self._begin()
        except JournalUnavailable as error:  # the thread tries again
            self._health.fail(_broken(error), error)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks for a few seconds at most, and a delivery may be repeated."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is None:  # it was never started
            self._finish()
            return
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            self._sink.abort()
            self._thread.join(_STOP_S)
        if self._thread.is_alive():
            logger.warning("the sink %s did not stop within %g s", self.name, 2 * _STOP_S)

    def notice(self, number: int) -> None:
        """Note that the journal has events up to a number; does not block."""
        self._progress.notice(number)
        self._wake.set()

    def retry(self, rerun: Rerun | None = None) -> None:
        """Try a held sink now, and send something again. Raises `Conflict` if too much waits."""
        if rerun is not None:
            if len(self._reruns) >= _MAX_RERUNS:
                raise Conflict(
                    f"the sink {self.name} already has {_MAX_RERUNS} replays waiting: try later"
                )
            self._reruns.append(rerun)
        self._breaker.retry_now()
        self._wake.set()

    def status(self) -> SinkStatus:
        """Return the state now; does not block."""
        health, progress = self._health, self._progress
        return SinkStatus(
            sink=self.name,
            type=str(getattr(self._settings, "type", "")),
            breaker=self._breaker.state,
            position=progress.position,
            depth=progress.depth,
            oldest_age_s=progress.oldest_age_s,
            delivered=health.delivered,
            last_error=health.last_error,
            last_error_at=health.last_error_at,
            next_try_s=self._breaker.wait_s,
            reruns=[str(rerun) for rerun in list(self._reruns)],
        )

    def _export(self) -> None:
        """Export the sink's metrics; gauges are computed when they are read."""
        metrics, progress = self._metrics, self._progress
        metrics.expect_sink(self.name, [reason.value for reason in Reason])
        metrics.delivery_depth.labels(self.name).set_function(lambda: float(progress.depth))
        metrics.delivery_oldest_age.labels(self.name).set_function(lambda: progress.oldest_age_s)
        metrics.delivery_breaker_open.labels(self.name).set_function(
            lambda: float(self._breaker.state is not BreakerState.CLOSED)
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                wait_s = self._step()
            except Exception as error:
                self._health.fail(_broken(error), error)
                wait_s = self._breaker.wait_s
            if wait_s > 0 and not self._stopping.is_set():
                self._wake.wait(wait_s)
        self._finish()

    def _step(self) -> float:
        """Send the next piece of the backlog and of what is sent again; return how long to wait."""
        position = self._begin()
        self._progress.save_when_due()
        wait_s = max(self._breaker.wait_s, self._send_at - time.monotonic())
        if wait_s > 0:
            return wait_s
        started = time.monotonic()
        sent = 0
        reading = self._outbox.read(position, self._limit())
        if reading is not None:
            sent += self._send(reading, position)
        if self._reruns and not self._breaker.wait_s:
            sent += self._send_again(self._reruns[0])
        self._send_at = started + sent / self._settings.max_per_s
        if reading is not None or self._reruns:
            return self._breaker.wait_s
        self._progress.head_at = None
        self._health.count_idle(self._sink.tend())
        return _TEND_EVERY_S

    def _begin(self) -> int:
        """Return the position, which the first call reads from the journal."""
        if not self._progress.has_begun:
            self._progress.begin()
            self._count_dead()
        return self._progress.position

    def _limit(self) -> int:
        """Return how many parcels to send: one after the breaker was open."""
        if self._breaker.state is not BreakerState.CLOSED:
            return 1
        return max(1, math.ceil(self._settings.max_per_s * _CHUNK_S))

    def _send(self, reading: Reading, position: int) -> int:
        """Send parcels, and move the position past what was taken or refused."""
        if reading.parcels:
            self._progress.head_at = reading.parcels[0].event.at
        delivery = self._deliver(reading.parcels)
        self._progress.move(delivery.last_done(reading, position), delivery.dead)
        self._count(delivery)
        return len(delivery.done)

    def _send_again(self, rerun: Rerun) -> int:
        """Send the next piece of a rerun; return how many parcels were done."""
        reading = rerun.read(self._outbox, self._limit())
        if reading is None:
            self._reruns.popleft()
            logger.info("the sink %s has been sent %s again", self.name, rerun)
            return 0
        delivery = self._deliver(reading.parcels)
        if delivery.dead:
            self._ledger.save(self._progress.position, delivery.dead)
        if rerun.is_of_dead_letters:
            dead = {letter.number for letter in delivery.dead}
            numbers = [parcel.event.number for parcel in delivery.done]
            self._ledger.forget([number for number in numbers if number not in dead])
        rerun.after = delivery.last_done(reading, rerun.after)
        self._count(delivery)
        self._count_dead()
        return len(delivery.done)

    def _deliver(self, parcels: Sequence[Parcel]) -> _Delivery:
        """Send parcels; any error of the sink holds it."""
        outcomes: Sequence[Outcome] = ()
        if parcels:
            try:
                outcomes = self._sink.deliver(parcels)
            except Exception as error:
                return _Delivery((), (), _broken(error), error)
            assert outcomes, "a sink returns an outcome for its first parcel"
        done, dead = list[Parcel](), list[DeadLetter]()
        for parcel, outcome in zip(parcels, outcomes, strict=False):
            if isinstance(outcome, Held):
                return _Delivery(done, dead, outcome)
            done.append(parcel)
            if isinstance(outcome, Refused):
                event = parcel.event
                dead.append(dead_letter(event.number, event.event_id, outcome.detail))
        return _Delivery(done, dead, None)

    def _count(self, delivery: _Delivery) -> None:
        taken = len(delivery.done) - len(delivery.dead)
        # What the stop has cut short is no failure of the receiver.
        held = None if self._stopping.is_set() else delivery.held
        self._health.count(taken, delivery.dead, held, delivery.error)
        if delivery.dead:
            self._count_dead()

    def _count_dead(self) -> None:
        self._metrics.dead_letters.labels(self.name).set(self._ledger.count_dead())

    def _finish(self) -> None:
        """Save the position and close the sink, whatever fails."""
        try:
            self._progress.save()
        except JournalUnavailable as error:
            logger.warning("the position of the sink %s is not saved: %s", self.name, error)
        try:
            self._sink.close()
        except Exception:
            logger.exception("the sink %s did not close", self.name)


def _broken(error: Exception) -> Held:
    """Return what an error of this service means: the events wait."""
    return Held(Reason.BROKEN, f"{type(error).__name__}: {error}")
