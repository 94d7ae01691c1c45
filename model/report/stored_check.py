"""Read a training's self-check, its outlook and its choices from a manifest.

The manifest may be of an older version, or a stranger's: an entry of another form reads as None.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from model.checkpoints.manifest import Manifest
from model.evaluation.counts import FEW
from model.inspection import Category
from model.metrics import wilson

_MOST_ENTRIES = 100
_MOST_COUNT = 10**9

_Share = Annotated[float, Field(ge=0, le=1)]
_Difference = Annotated[float, Field(ge=-1, le=1)]
_Count = Annotated[int, Field(ge=0, le=_MOST_COUNT)]
_Text = Annotated[str, StringConstraints(max_length=1000)]
_Short = Annotated[str, StringConstraints(max_length=100)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @classmethod
    def read(cls, value: object) -> Self | None:
        """Return the entry; None if it is missing or has another form."""
        try:
            return cls.model_validate(value)
        except ValidationError:
            return None


class StoredRate(_Entry):
    """The number of `drawn` defects, and how many of them were `found`."""

    found: _Count
    drawn: Annotated[int, Field(ge=1, le=_MOST_COUNT)]

    @property
    def rate(self) -> float:
        """The share that was found."""
        return min(self.found / self.drawn, 1.0)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        return wilson(min(self.found, self.drawn), self.drawn)

    @property
    def is_few(self) -> bool:
        """Whether the share stands on fewer than `FEW` defects."""
        return self.drawn < FEW


class StoredMethod(StoredRate):
    """A method's found defects at its `threshold`, and its image AUROC."""

    threshold: float
    image_auroc: _Share


class StoredLead(_Entry):
    """A baseline's image AUROC minus the network's, with its interval unless parts are few."""

    image_auroc: _Difference
    interval: tuple[_Difference, _Difference] | None


class StoredCheck(_Entry):
    """One category's self-check; see `model.training.advice.findings.Findings`."""

    parts: _Count
    drawn_parts: _Count
    trained_on: _Count
    fitted_on: _Count
    methods: dict[_Short, StoredMethod] = Field(max_length=_MOST_ENTRIES)
    kinds: dict[_Short, StoredRate] = Field(max_length=_MOST_ENTRIES)
    strengths: dict[_Short, StoredRate] = Field(max_length=_MOST_ENTRIES)
    leads: dict[_Short, StoredLead] = Field(max_length=_MOST_ENTRIES)
    at_rates: dict[float, StoredRate] = Field(default={}, max_length=_MOST_ENTRIES)
    undrawable: tuple[_Short, ...] = Field(default=(), max_length=_MOST_ENTRIES)


class StoredStep(_Entry):
    """A false-reject rate `alpha`, and the held-out good images that it needs."""

    alpha: _Share
    needed: _Count
    missing: _Count
    in_all: _Count


class StoredOutlook(_Entry):
    """What a category's good images promise; see `model.training.advice.promises.Outlook`.

    Without `shares_images`, the held-out images come from elsewhere, or older programs did not say.
    """

    alpha: _Share
    good_images: _Count
    in_all: _Count
    rate: _Share
    is_promise: bool
    shares_images: bool = False
    next: tuple[StoredStep, ...] = Field(max_length=_MOST_ENTRIES)


class StoredAlignment(_Entry):
    """How alike the parts of a category lie; see `model.training.choice.alignment.Alignment`."""

    images: _Count
    share: float
    by_chance: float
    fitted: float
    aligned: bool


class StoredChoice(_Entry):
    """Why a recipe was chosen; `base` is None if it was named."""

    base: _Short | None
    reasons: tuple[_Text, ...] = Field(max_length=_MOST_ENTRIES)
    warnings: tuple[_Text, ...] = Field(max_length=_MOST_ENTRIES)
    alignment: dict[_Short, StoredAlignment] = Field(max_length=_MOST_ENTRIES)


def read_check(manifest: Manifest, category: Category) -> StoredCheck | None:
    """Return a category's self-check, if the manifest has one."""
    return StoredCheck.read(_of_category(manifest, "self_check", category))


def read_outlook(manifest: Manifest, category: Category) -> StoredOutlook | None:
    """Return what more good images of a category would promise, if the manifest says so."""
    return StoredOutlook.read(_of_category(manifest, "recommendation", category))


def read_choice(manifest: Manifest) -> StoredChoice | None:
    """Return why the recipe was chosen, if the manifest says so."""
    return StoredChoice.read(manifest.training.get("choice"))


def folds_of_check(manifest: Manifest) -> int | None:
    """Return the number of folds whose networks were checked; None if parts were held out."""
    folds = _mapping(manifest.training.get("self_check")).get("folds")
    return folds if isinstance(folds, int) and not isinstance(folds, bool) else None


def has_check(manifest: Manifest, category: Category) -> bool:
    """Whether the manifest has anything as a category's self-check, readable or not."""
    return _of_category(manifest, "self_check", category) is not None


def was_trained_here(manifest: Manifest) -> bool:
    """Whether `mambaad train` has made the checkpoint, so that a self-check can be repeated."""
    return bool(_mapping(manifest.training.get("recipe")))


def _of_category(manifest: Manifest, key: str, category: Category) -> object:
    return _mapping(_mapping(manifest.training.get(key)).get("categories")).get(category)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
