"""What `benchmarks/load.py` is made of: arrivals, senders, the service they meet, and reports."""


class CannotMeasure(Exception):
    """What the caller asked for cannot be measured; the message says why."""
