"""The sets of the benchmark.

Development sets may choose: recipes, features, weights. Final sets must not: they are run when the
choice has been made, and reported last. They share no photograph and no defective cell with the
development sets. Whoever looks at a final set and then changes something moves it to development.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from model.synthetic import Size


class Role(StrEnum):
    """What a set may be used for."""

    DEVELOPMENT = "development"
    FINAL = "final"


class Source(StrEnum):
    """Where a set's images come from.

    UPRIGHT, TURNED: windows of a photograph at random places, as it lies or at any angle. PLATE: an
    aligned part, a plate with holes in the same place of each image, with a photograph as its
    surface. CELLS: solar cells with real defects; GROUPED: the same, without test cells of a
    module that training cells come from.
    """

    UPRIGHT = "upright"
    TURNED = "turned"
    PLATE = "plate"
    CELLS = "cells"
    GROUPED = "grouped"


SQUARE, WIDE = (256, 256), (128, 512)


@dataclass(frozen=True, slots=True)
class QualitySet:
    """One set: a network is trained on `good` images of each of its categories.

    A fifth of the good images is held out for thresholds, as `mambaad train` does. A category is a
    photograph or a type of solar cell.
    """

    name: str
    role: Role
    source: Source
    categories: tuple[str, ...]
    good: int
    shape: tuple[int, int] = SQUARE
    size: Size = Size.ORDINARY
    tested: tuple[int, int] = (40, 54)
    """Test images of each category: good ones, defective ones (at most, for cells)."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything that determines the images, as JSON values."""
        plain = asdict(self) | {"size": self.size.name, "categories": list(self.categories)}
        return plain | {"shape": list(self.shape), "tested": list(self.tested)}


_CELLS = (150, 150)
_BOTH_CELLS = ("solar-mono", "solar-poly")

_development = partial(QualitySet, role=Role.DEVELOPMENT)
_DEVELOPMENT_SETS = [
    _development("brick-20", source=Source.UPRIGHT, categories=("brick",), good=20),
    _development("brick-50", source=Source.UPRIGHT, categories=("brick",), good=50),
    _development("grass-turned-10", source=Source.TURNED, categories=("grass",), good=10),
    _development("grass-turned-50", source=Source.TURNED, categories=("grass",), good=50),
    _development("grass-200", source=Source.UPRIGHT, categories=("grass",), good=200),
    _development(
        "brick-wide-50", source=Source.UPRIGHT, categories=("brick",), good=50, shape=WIDE
    ),
    _development("plate-grass-20", source=Source.PLATE, categories=("grass",), good=20),
    _development("plate-brick-50", source=Source.PLATE, categories=("brick",), good=50),
    _development(
        "brick-small-50", source=Source.UPRIGHT, categories=("brick",), good=50, size=Size.SMALL
    ),
    _development("brick-grass-50", source=Source.UPRIGHT, categories=("brick", "grass"), good=50),
    _development(
        "cells-mono-20", source=Source.CELLS, categories=("solar-mono",), good=20, tested=_CELLS
    ),
    _development("cells-200", source=Source.CELLS, categories=_BOTH_CELLS, good=200, tested=_CELLS),
]

_final = partial(QualitySet, role=Role.FINAL)
_FINAL_SETS = [
    _final("gravel-20", source=Source.UPRIGHT, categories=("gravel",), good=20),
    _final("gravel-turned-50", source=Source.TURNED, categories=("gravel",), good=50),
    _final("gravel-200", source=Source.UPRIGHT, categories=("gravel",), good=200),
    _final("tissue-turned-10", source=Source.TURNED, categories=("ihc",), good=10),
    _final("tissue-50", source=Source.UPRIGHT, categories=("ihc",), good=50),
    _final("moon-turned-20", source=Source.TURNED, categories=("moon",), good=20),
    _final("gravel-wide-50", source=Source.UPRIGHT, categories=("gravel",), good=50, shape=WIDE),
    _final("tissue-wide-20", source=Source.UPRIGHT, categories=("ihc",), good=20, shape=WIDE),
    _final("plate-gravel-20", source=Source.PLATE, categories=("gravel",), good=20),
    _final("plate-tissue-200", source=Source.PLATE, categories=("ihc",), good=200),
    _final("plate-moon-wide-50", source=Source.PLATE, categories=("moon",), good=50, shape=WIDE),
    _final(
        "gravel-small-50", source=Source.UPRIGHT, categories=("gravel",), good=50, size=Size.SMALL
    ),
    _final(
        "gravel-tissue-moon-50",
        source=Source.UPRIGHT,
        categories=("gravel", "ihc", "moon"),
        good=50,
    ),
    _final(
        "cells-poly-50", source=Source.GROUPED, categories=("solar-poly",), good=50, tested=_CELLS
    ),
    _final("cells-final-20", source=Source.CELLS, categories=_BOTH_CELLS, good=20, tested=_CELLS),
    _final("cells-final-200", source=Source.CELLS, categories=_BOTH_CELLS, good=200, tested=_CELLS),
    _final(
        "cells-grouped-200", source=Source.GROUPED, categories=_BOTH_CELLS, good=200, tested=_CELLS
    ),
]

SETS = {a.name: a for a in (*_DEVELOPMENT_SETS, *_FINAL_SETS)}
QUICK = ("brick-20", "grass-turned-50", "brick-wide-50", "plate-grass-20")
"""Development sets for a first look, with one seed: 20 minutes on two cores."""


class Subset(StrEnum):
    """A named choice of sets."""

    QUICK = "quick"
    DEVELOPMENT = "development"
    FINAL = "final"
    ALL = "all"

    def sets(self) -> list[QualitySet]:
        """Return the sets, final ones last."""
        if self is Subset.QUICK:
            return [SETS[name] for name in QUICK]
        return [a for a in SETS.values() if self in (Subset.ALL, a.role.value)]
