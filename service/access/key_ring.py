"""The keys of a file, followed as the file changes.

A file that cannot be used (half written, not readable, gone) takes no key away at once: a line must
not stop for a passing error. It is read again every second until it can be. A key that was revoked
meanwhile must not live on for ever: after a grace without a good reading no key is valid any more.
"""

import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from service.access.keys import ApiKey, KeysUnusable, Stamp, digest, read_stamped
from service.errors import KeysUnreadable

logger = logging.getLogger("service.keys")

_MAX_SECRET = 256
_RECHECK_S = 1.0


class KeyRing:
    """The keys of a file; those last read stay valid for `grace_s` while it cannot be read."""

    def __init__(
        self, path: Path, grace_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the file. Raises `KeysUnusable`."""
        self._path = path
        self._grace_s = grace_s
        self._clock = clock
        self._keys, self._stamp = read_stamped(path)
        self._settled = False
        self._fault: str | None = None
        self._failing_since = self._checked = clock()

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys as last read: the same tuple until they change."""
        return self._keys

    def find(self, secret: str) -> ApiKey | None:
        """Return the key that this is, in a time that does not tell how near a wrong one came.

        Raises `KeysUnreadable` once the file could not be read for the grace.
        """
        unread_s = self.unread_s()
        if self._fault and unread_s >= self._grace_s:
            raise KeysUnreadable(
                f"the keys file could not be read for {unread_s:.0f} s, so no key is valid; "
                "see the service's log"
            )
        given = digest(secret[:_MAX_SECRET])
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def unread_s(self) -> float:
        """Look at the file; return for how long it could not be read, 0 where it can."""
        self._follow()
        return self._clock() - self._failing_since if self._fault else 0.0

    def _follow(self) -> None:
        """Look at the file, at most once a second; read it where it changed, or was no good."""
        now = self._clock()
        if now - self._checked < _RECHECK_S:
            return
        self._checked = now
        stamp = self._now()
        if stamp is not None and stamp == self._stamp and self._settled:
            return
        try:
            keys, self._stamp = read_stamped(self._path)
        except KeysUnusable as error:
            self._take_fault(str(error))
        else:
            # A write in the same tick of the file system's clock leaves the stamp as it was, so a
            # new state is read once more a second later.
            self._settled = self._stamp == stamp and keys == self._keys
            if keys != self._keys or self._fault:
                logger.info("read %d API keys", len(keys))
            self._keys, self._fault = keys, None

    def _take_fault(self, fault: str) -> None:
        """Keep the keys and read again at the next look; log each kind of fault once."""
        self._settled = False
        if self._fault is None:
            self._failing_since = self._checked
        if fault != self._fault:
            left_s = max(0.0, self._failing_since + self._grace_s - self._checked)
            logger.error("%s; the keys read before hold for %.0f s more", fault, left_s)
        self._fault = fault

    def _now(self) -> Stamp | None:
        try:
            return Stamp.of(self._path.stat())
        except OSError:
            return None
