"""The answer to one kind of error."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProblemType:
    """The answer to one kind of error; `slug` is its stable name for programs."""

    status: int
    slug: str
    title: str
    example: str = ""
    """A typical `detail`."""

    advice: str = ""
    """What to do when this error leaves a part UNDECIDED."""

    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Headers of the answer, in addition to Retry-After."""

    throttles: bool = False
    """Whether the error ends once clients send less."""

    @property
    def uri(self) -> str:
        """The identifier in a problem's `type`."""
        return f"urn:mambaad:problem:{self.slug}"
