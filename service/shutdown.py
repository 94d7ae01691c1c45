"""The word that the service is leaving, for all who have to know."""


class Shutdown:
    """Whether the service has been told to stop; it still finishes what it took."""

    def __init__(self) -> None:
        self.begun = False

    def begin(self) -> None:
        """Tell everyone; only a flag, since a signal handler does it."""
        self.begun = True
