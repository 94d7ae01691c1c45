"""The thread that follows the shared state: it hears of changes, and looks every few seconds.

    follower.start()
    ...
    follower.stop()

What it reads goes into `Knowledge`; nothing waits for it.
"""

import logging
import threading

from service.errors import SharedStateUnavailable
from service.shared.knowledge import Knowledge
from service.shared.link import Link

logger = logging.getLogger("service.follower")

_RETRY_S = 1.0


class Follower:
    """Follows in one thread, through a link of its own."""

    def __init__(self, link: Link, knowledge: Knowledge, poll_s: float) -> None:
        self._link = link
        self._knowledge = knowledge
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: str | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._thread = threading.Thread(target=self._run, name="shared-state", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a connection that is being opened may outlive this for seconds."""
        self._stopping.set()
        self._link.cut()
        if self._thread is not None:
            self._thread.join(_RETRY_S)
        self._link.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except SharedStateUnavailable as error:
                self._note(str(error))
            except Exception as error:
                logger.exception("following the shared state failed; it is tried again")
                self.failure = f"following the shared state failed: {type(error).__name__}"
            self._stopping.wait(min(_RETRY_S, self._poll_s))

    def _follow(self) -> None:
        """Read and wait in one session until it breaks, or the service stops."""
        with self._link.session() as read:
            while not self._stopping.is_set():
                knowledge = self._knowledge
                knowledge.take(read(knowledge.newest.place, knowledge.last_number))
                if self.failure is not None:
                    logger.info("the PostgreSQL of the shared state answers again")
                    self.failure = None
                self._link.wait(self._poll_s)

    def _note(self, failure: str) -> None:
        """Log each failure once."""
        if failure != self.failure and not self._stopping.is_set():
            logger.warning("%s", failure)
        self.failure = failure
