"""Whether a sink works: its breaker, its last error, its counters, and what the log says of it."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from service.delivery.breaker import Breaker
from service.delivery.ledger import DeadLetter
from service.delivery.sinks.sink import Held, Reason, Taken
from service.errors import ServiceError
from service.telemetry.metrics import Metrics

logger = logging.getLogger("service.delivery")

_SAY_AGAIN_S = 600.0


class Health:
    """Counts and logs the outcomes of one sink; used by the sink's thread alone."""

    def __init__(self, sink: str, breaker: Breaker, metrics: Metrics) -> None:
        self._sink = sink
        self._metrics = metrics
        self._logged: tuple[str, float] = ("", 0.0)
        self.breaker = breaker
        self.delivered = 0
        self.last_error: str | None = None
        self.last_error_at: datetime | None = None

    def count(
        self,
        taken: int,
        dead: Sequence[DeadLetter],
        held: Held | None,
        error: Exception | None = None,
    ) -> None:
        """Count the outcomes of a delivery."""
        if taken:
            self.delivered += taken
            self._metrics.delivered.labels(self._sink).inc(taken)
        for letter in dead:
            self._metrics.delivery_failures.labels(self._sink, Reason.REFUSED).inc()
            self._note(letter.reason)
            logger.error(
                "the sink %s cannot take event %d, which becomes a dead letter: %s",
                self._sink, letter.number, letter.reason,
            )  # fmt: skip
        if taken or dead:
            self._recover()
        if held is not None:
            self.fail(held, error)

    def count_idle(self, outcome: Taken | Held | None) -> None:
        """Note whether a parcel could be sent, while there is none."""
        if isinstance(outcome, Held):
            self.fail(outcome)
        elif outcome is not None:
            self._recover()

    def fail(self, held: Held, error: Exception | None = None) -> None:
        """Count a failure, and log it unless the same was just logged.

        An error of this service's own code is logged with its traceback.
        """
        self.breaker.failed(held.retry_after_s, needs_help=held.needs_help)
        self._metrics.delivery_failures.labels(self._sink, held.reason).inc()
        self._note(held.detail)
        reason, at = self._logged
        if held.reason != reason or time.monotonic() - at > _SAY_AGAIN_S:
            self._logged = (held.reason, time.monotonic())
            level = logging.ERROR if held.needs_help else logging.WARNING
            is_ours = error is not None and not isinstance(error, ServiceError)
            logger.log(
                level, "the sink %s is held (%s): %s", self._sink, held.reason, held.detail,
                exc_info=error if is_ours else None,
            )  # fmt: skip

    def _recover(self) -> None:
        if self.breaker.failures:
            logger.info("the sink %s delivers again", self._sink)
            self._logged = ("", 0.0)
        self.breaker.succeeded()

    def _note(self, error: str) -> None:
        self.last_error, self.last_error_at = error, datetime.now(UTC)
