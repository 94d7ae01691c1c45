"""Score good parts as they are, and with defects drawn into them.

A round draws one defect of each kind, each at three strengths. The parts take turns; for tiled
images, one part gets all defects of a round, because its other tiles need to be computed once only.
The rounds, places and shapes depend on the seed alone. The clock decides only how many rounds there
are, and how many of the parts are scored if there are too many.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from model.inference.detector import Detector
from model.inspection import Category
from model.synthetic import Kind, Strength
from model.training.advice.defects import draw_inside
from model.training.advice.methods import Advance, Method
from model.training.advice.pictures import PartPicture, PartPictures
from model.training.advice.scores import DrawnPart, Scores
from model.training.advice.time_limit import TimeLimit

ROUNDS = 4
DEFECTS_PER_ROUND = len(Kind) * len(Strength)
MOST_PARTS = 200
_INPUTS_AT_ONCE = 16
_PARTS_AT_ONCE = 4
_FOR_PARTS = 0.5
"""The share of the time for scoring the parts as they are."""

_Maps = Mapping[str, np.ndarray]
"""The maps (B, H, W) of the same inputs by each method."""


class CheckStopped(Exception):
    """Raised between two images when the run was told to stop."""


@dataclass(slots=True)
class Observation:
    """The scores of one category's parts by all methods; `observe` fills it."""

    detector: Detector
    category: Category
    methods: Sequence[Method]
    pictures: PartPictures
    seed: int
    stop: Callable[[], bool] = lambda: False
    advance: Advance = lambda _images: None
    good: dict[str, list[float]] = field(default_factory=dict)
    drawn: list[DrawnPart] = field(default_factory=list)
    undrawable: set[Kind] = field(default_factory=set)

    def observe(self, limit: TimeLimit, rounds: int, trained_on: int, fitted_on: int) -> Scores:
        """Score the parts, and then rounds of defects until the time is up; at least one round."""
        self._score_parts(limit.share(_FOR_PARTS))
        for number in range(rounds):
            self._draw_round(number)
            if limit.left_s <= 0:
                break
        good = {name: tuple(scores) for name, scores in self.good.items()}
        undrawable = tuple(sorted(self.undrawable))
        return Scores(good, tuple(self.drawn), trained_on, fitted_on, undrawable)

    def _score_parts(self, limit: TimeLimit) -> None:
        """Score parts as they are until the time is up; at least one."""
        for start in range(0, len(self.pictures), _PARTS_AT_ONCE):
            numbers = range(start, min(start + _PARTS_AT_ONCE, len(self.pictures)))
            parts = [self.pictures[number] for number in numbers]
            inputs = [part.inputs(part.pixels) for part in parts]
            maps = self._maps(np.concatenate(inputs))
            ends = np.cumsum([0, *map(len, inputs)])
            for part, first, last in zip(parts, ends[:-1], ends[1:], strict=True):
                for name, score in self._scored(part, _rows(maps, slice(first, last))).items():
                    self.good.setdefault(name, []).append(score)
            self.advance(len(parts))
            if limit.left_s <= 0:
                break

    def _draw_round(self, number: int) -> None:
        parts = len(next(iter(self.good.values())))
        order = np.random.default_rng((self.seed, parts)).permutation(parts)
        of_kinds: dict[int, list[Kind]] = {}
        tiled = self.pictures[int(order[number % parts])].frame.inputs > 1
        for place, kind in enumerate(Kind):
            turn = number if tiled else number * len(Kind) + place
            of_kinds.setdefault(int(order[turn % parts]), []).append(kind)
        for part, kinds in of_kinds.items():
            self._draw_into(part, kinds, number)
            self.advance(len(kinds) * len(Strength))

    def _draw_into(self, number: int, kinds: Sequence[Kind], round_number: int) -> None:
        part = self.pictures[number]
        plain = part.inputs(part.pixels)
        before = self._maps(plain) if len(plain) > 1 else None
        for kind in kinds:
            if kind in self.undrawable:
                continue
            seed = (self.seed, round_number, number)
            pictures = draw_inside(part.pixels, part.inside, kind, seed)
            if pictures is None:
                self.undrawable.add(kind)
                continue
            inputs = [part.inputs(picture) for picture in pictures.values()]
            for strength, maps in zip(pictures, self._changed(plain, before, inputs), strict=True):
                scores = self._scored(part, maps)
                self.drawn.append(DrawnPart(number, kind.value, strength.value, scores))

    def _changed(
        self,
        plain: UInt8[np.ndarray, "n 3 H W"],
        before: _Maps | None,
        drawn: Sequence[UInt8[np.ndarray, "n 3 H W"]],
    ) -> Iterator[_Maps]:
        """Yield the maps of each drawn picture; computes only the inputs that have changed."""
        different = [
            np.flatnonzero([not np.array_equal(a, b) for a, b in zip(plain, inputs, strict=True)])
            if before is not None
            else np.arange(len(inputs))
            for inputs in drawn
        ]
        new = self._maps(
            np.concatenate([d[which] for d, which in zip(drawn, different, strict=True)])
        )
        start = 0
        for which in different:
            rows = _rows(new, slice(start, start + len(which)))
            start += len(which)
            if before is None:
                yield rows
                continue
            maps = {name: values.copy() for name, values in before.items()}
            for name, values in rows.items():
                maps[name][which] = values
            yield maps

    def _maps(self, inputs: UInt8[np.ndarray, "B 3 H W"]) -> _Maps:
        chunks: dict[str, list[np.ndarray]] = {}
        for start in range(0, len(inputs), _INPUTS_AT_ONCE):
            if self.stop():
                raise CheckStopped
            for method in self.methods:
                for name, values in method.maps(inputs[start : start + _INPUTS_AT_ONCE]).items():
                    chunks.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in chunks.items()}

    def _scored(self, part: PartPicture, maps: _Maps) -> dict[str, float]:
        """Return each method's score of an image, by the checkpoint's statistic and area."""
        return {
            name: self.detector.raw_score(part.frame.assemble(values), self.category)
            for name, values in maps.items()
        }


def _rows(maps: _Maps, rows: slice) -> _Maps:
    return {name: values[rows] for name, values in maps.items()}
