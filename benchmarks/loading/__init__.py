"""Parts of `benchmarks/load.py`: arrivals, senders, the measured service, and reports."""


class CannotMeasure(Exception):
    """A measurement is impossible; the message says why."""
