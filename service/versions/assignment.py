"""Which versions serve a category, and in which role.

stable   answers every request that the canary does not
canary   answers a share, chosen by a hash: the same part or request always gets the same
         version, and a larger share keeps the parts of a smaller one
shadow   scores the same images for comparison, and never answers
"""

from collections.abc import Iterator
from enum import StrEnum
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, Field

from model.checkpoints.key import CheckpointKey
from model.inspection import Category

_HASHED_BYTES = 8


class Role(StrEnum):
    """What a version does for a category."""

    STABLE = "stable"
    CANARY = "canary"
    SHADOW = "shadow"


class Canary(BaseModel):
    """A version that answers a share of a category's requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    checkpoint: CheckpointKey
    share: float = Field(gt=0, lt=1)

    def answers(self, category: Category, key: str) -> bool:
        """Return whether the request or part of this key belongs to the canary's share."""
        text = f"{category}\0{self.checkpoint}\0{key}".encode()
        drawn = int.from_bytes(sha256(text).digest()[:_HASHED_BYTES], "big")
        return drawn < self.share * 2.0 ** (8 * _HASHED_BYTES)


class Assignment(BaseModel):
    """The versions that serve one category."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stable: CheckpointKey
    canary: Canary | None = None
    shadow: CheckpointKey | None = None

    def roles(self) -> Iterator[tuple[Role, CheckpointKey]]:
        """Yield every version with its role."""
        yield Role.STABLE, self.stable
        if self.canary:
            yield Role.CANARY, self.canary.checkpoint
        if self.shadow:
            yield Role.SHADOW, self.shadow
