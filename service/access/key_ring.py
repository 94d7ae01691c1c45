"""The keys of a file, updated when the file changes.

While the file is unusable (half written, unreadable, missing), the last keys stay valid, so that a
passing error does not stop a line; the file is read again every second. After a grace without a
successful read no key is valid, so that a revoked key does not stay valid for ever.
"""

import hmac
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from service.access.keys import ApiKey, KeysUnusable, Stamp, digest, read_stamped
from service.errors import KeysUnreadable

logger = logging.getLogger("service.keys")

_MAX_SECRET = 256
_RECHECK_S = 1.0


class Keys(Protocol):
    """The keys that a service accepts, in a file or elsewhere; asked for every request."""

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys: the same tuple until they change."""
        ...

    def find(self, secret: str) -> ApiKey | None:
        """Return the key of this secret. Raises `KeysUnreadable`."""
        ...

    def find_digest(self, given: str) -> ApiKey | None:
        """Return the key whose secret has this hash. Raises `KeysUnreadable`."""
        ...


def match(keys: Iterable[ApiKey], given: str) -> ApiKey | None:
    """Return the key with this hash, in a time that does not depend on the hash."""
    matching = None
    for key in keys:
        if hmac.compare_digest(key.sha256, given):
            matching = key
    return matching


class KeyRing:
    """The keys of a file; they stay valid for `grace_s` while the file cannot be read."""

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
        """The last read keys: the same tuple until they change."""
        return self._keys

    def find(self, secret: str) -> ApiKey | None:
        """Return the key of this secret, in a time that does not depend on the secret.

        Raises `KeysUnreadable` when the file was unreadable for longer than the grace.
        """
        return self.find_digest(digest(secret[:_MAX_SECRET]))

    def find_digest(self, given: str) -> ApiKey | None:
        """Return the key whose secret has this hash, as `find` does."""
        unread_s = self.unread_s()
        if self._fault and unread_s >= self._grace_s:
            raise KeysUnreadable(
                f"the keys file could not be read for {unread_s:.0f} s, so no key is valid; "
                "see the service's log"
            )
        return match(self._keys, given)

    def unread_s(self) -> float:
        """Check the file; return for how many seconds it was unreadable, 0 if it is readable."""
        self._follow()
        return self._clock() - self._failing_since if self._fault else 0.0

    def _follow(self) -> None:
        """Check the file, at most once a second; read it if it changed or was unusable."""
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
            # A second write in the same tick of the file system's clock does not change the stamp,
            # so a new state is read again a second later.
            self._settled = self._stamp == stamp and keys == self._keys
            if keys != self._keys or self._fault:
                logger.info("read %d API keys", len(keys))
            self._keys, self._fault = keys, None

    def _take_fault(self, fault: str) -> None:
        """Keep the keys until the next check; log each kind of fault once."""
        self._settled = False
        if self._fault is None:
            self._failing_since = self._checked
        if fault != self._fault:
            left_s = max(0.0, self._failing_since + self._grace_s - self._checked)
            logger.error("%s; the keys read before stay valid for %.0f s", fault, left_s)
        self._fault = fault

    def _now(self) -> Stamp | None:
        try:
            return Stamp.of(self._path.stat())
        except OSError:
            return None
