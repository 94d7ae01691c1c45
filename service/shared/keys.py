"""The keys of the shared state, from memory."""

from service.access.key_ring import match
from service.access.keys import ApiKey, digest
from service.shared.knowledge import Knowledge

_MAX_SECRET = 256


class SharedKeys:
    """The keys of the newest state that a node knows; they stay valid while it is away."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The same tuple until they change."""
        return self._knowledge.newest.keys

    def find(self, secret: str) -> ApiKey | None:
        """Return the key of this secret, in a time that does not depend on the secret."""
        return self.find_digest(digest(secret[:_MAX_SECRET]))

    def find_digest(self, given: str) -> ApiKey | None:
        """Return the key whose secret has this hash."""
        return match(self.keys, given)
