"""How long workers may take, and when they are started again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Supervision:
    """Time-outs and delays of a worker, in seconds.

    A batch may take `batch_patience` times its expected time, at least `min_batch_timeout_s` and at
    most `batch_timeout_s`, which also applies without an expectation. Checkpoints that failed to
    load at the start are tried again after `reload_s`, doubled each time.
    """

    startup_timeout_s: float
    batch_timeout_s: float
    backoff_s: float
    max_backoff_s: float
    stop_grace_s: float
    heartbeat_timeout_s: float = 10.0
    min_batch_timeout_s: float = 10.0
    batch_patience: float = 10.0
    reload_s: float = 60.0

    def delay_s(self, deaths: int) -> float:
        """Return the delay before the next start, after that many deaths in a row."""
        return min(self.max_backoff_s, self.backoff_s * 2.0 ** min(deaths - 1, 60))

    def patience_s(self, expected_s: float) -> float:
        """Return the time-out of a batch; `expected_s` is 0 without an expectation."""
        if not expected_s:
            return self.batch_timeout_s
        likely = max(self.min_batch_timeout_s, self.batch_patience * expected_s)
        return min(self.batch_timeout_s, likely)
