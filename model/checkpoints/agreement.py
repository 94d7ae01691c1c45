"""How far scores change in another precision: measured on held-out images, kept in the manifest."""

from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from model.inspection import Category
from model.limits import LARGEST_NUMBER

PRECISIONS = ("float32", "bfloat16")
"""Precisions of OpenVINO that are compared with torch in float32, the slower one first."""

MOST_DIFFERENCE = 0.01
"""Most that the score of an image may change."""


class Agreement(BaseModel):
    """A category's images in another precision than float32, beside the same images in float32.

    `difference` is the largest change of a score, `decisions` how many decisions changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    images: int = Field(ge=1, le=10**9)
    difference: float = Field(ge=0, le=LARGEST_NUMBER)
    decisions: int = Field(ge=0, le=10**9)

    @property
    def holds(self) -> bool:
        """Whether this precision may inspect."""
        return self.difference <= MOST_DIFFERENCE and self.decisions == 0


Agreements: TypeAlias = Mapping[str, Mapping[Category, Agreement]]
"""By precision, then by category."""


def holds(agreements: Agreements, precision: str, categories: Iterable[Category]) -> bool:
    """Return whether scores in this precision are as in float32, measured for all categories."""
    measured = agreements.get(precision, {})
    return bool(measured) and all(name in measured and measured[name].holds for name in categories)


def merged(agreements: Agreements, further: Agreements) -> dict[str, dict[Category, Agreement]]:
    """Return agreements with further ones, which replace those of the same category."""
    return {
        precision: {**agreements.get(precision, {}), **further.get(precision, {})}
        for precision in sorted({*agreements, *further})
    }


def without(
    agreements: Agreements, categories: Collection[Category]
) -> dict[str, dict[Category, Agreement]]:
    """Return the agreements of other categories: by new thresholds, decisions may differ."""
    return {
        precision: {name: value for name, value in of.items() if name not in categories}
        for precision, of in agreements.items()
    }
