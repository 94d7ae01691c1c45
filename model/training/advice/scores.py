"""The raw scores of good parts, as they are and with defects drawn into them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from model.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class DrawnPart:
    """A part with one drawn defect: its number, the defect, and the score of each method."""

    part: int
    kind: str
    strength: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one category's parts, in each method's units.

    `good` has each method's scores of the parts as they are. The baselines were fitted on
    `fitted_on` of the `trained_on` training images, 0 if there was no time for them. Defects of the
    kinds in `undrawable` would not have been visible.
    """

    good: Mapping[str, tuple[float, ...]]
    drawn: tuple[DrawnPart, ...]
    trained_on: int
    fitted_on: int
    undrawable: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods, the network first."""
        return tuple(self.good)

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Scores":
        """Build from `to_dict` output; raises `CheckpointError` for other values."""
        try:
            return cls(
                good={name: tuple(map(float, s)) for name, s in values["good"].items()},
                drawn=tuple(DrawnPart(**drawn) for drawn in values["drawn"]),
                trained_on=int(values["trained_on"]),
                fitted_on=int(values["fitted_on"]),
                undrawable=tuple(values["undrawable"]),
            )
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise CheckpointError(f"these are no scores of a self-check: {error}") from error


def joined(parts: Sequence[Scores]) -> Scores:
    """Return the scores of several folds as those of one set of parts.

    Leaves out methods that do not have scores in all of them.
    """
    methods = [name for name in parts[0].methods if all(name in part.good for part in parts)]
    drawn: list[DrawnPart] = []
    before = 0
    for part in parts:
        drawn += [replace(one, part=one.part + before) for one in part.drawn]
        before += len(next(iter(part.good.values())))
    return Scores(
        good={name: tuple(s for part in parts for s in part.good[name]) for name in methods},
        drawn=tuple(drawn),
        trained_on=min(part.trained_on for part in parts),
        fitted_on=min(part.fitted_on for part in parts),
        undrawable=tuple(sorted({kind for part in parts for kind in part.undrawable})),
    )
