"""The training section of a recipe."""

from dataclasses import asdict, dataclass, field
from typing import Any

from model.errors import ConfigError
from model.training.recipe.augmentation import Augmentation
from model.training.recipe.disturbance import Disturbance
from model.training.recipe.emphasis import Emphasis

LOSSES = ("mse", "cosine", "global_cosine")
SCHEDULES = ("step", "cosine", "onecycle")
PRECISIONS = ("float32", "bfloat16")
KEEPS = ("last", "best")

PAPER_LEARNING_RATE = 0.005
PAPER_BATCH_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The settings of a training run; the defaults are the paper's recipe.

    `learning_rate` None means 0.005 x batch_size / 16. `decay_at` is the share of the run after
    which the "step" schedule drops to a tenth. The rate rises linearly over `warmup_epochs`
    ("onecycle" has a built-in warm-up). `clip_norm` bounds the gradient's norm and `ema_decay`
    averages the weights over steps; 0 turns either off. `held_out_fraction` of the good images is
    held out for calibration if the data has no held_out folder. `alpha` is the calibrated
    false-reject rate.

    `precision` "bfloat16" is mixed precision: matrices in bfloat16; scan, loss, weights and
    targets in float32. `standardise_features` scales each feature channel to mean 0 and deviation 1
    over the training images, in training and inspection.

    `keep` "best" keeps the weights of the epoch with the lowest loss on watched good images, and
    `patience` ends the run after this many epochs without a lower loss; 0: never. The watched
    images are the held-out ones, or, so that these influence nothing, a separate `watch_fraction`
    of the good images.

    With `folds` no image is held out: this many extra networks score the images that they were not
    trained on, and these scores set the thresholds (`model.training.folds`).

    Raises `ConfigError` for an invalid recipe.
    """

    epochs: int = 1000
    batch_size: int = PAPER_BATCH_SIZE
    learning_rate: float | None = None
    weight_decay: float = 1e-4
    loss: str = "mse"
    schedule: str = "step"
    decay_at: float = 0.8
    warmup_epochs: int = 0
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    precision: str = "float32"
    standardise_features: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    disturbance: Disturbance = field(default_factory=Disturbance)
    emphasis: Emphasis = field(default_factory=Emphasis)
    keep: str = "last"
    patience: int = 0
    watch_fraction: float = 0.0
    folds: int = 0
    held_out_fraction: float = 0.2
    alpha: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        _check_choice("loss", self.loss, LOSSES)
        _check_choice("schedule", self.schedule, SCHEDULES)
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("keep", self.keep, KEEPS)
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"learning_rate must be above 0, got {self.learning_rate}")
        for name in ("weight_decay", "clip_norm", "patience", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("ema_decay", "watch_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("decay_at", "held_out_fraction", "alpha"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.folds < 0 or self.folds == 1:
            raise ConfigError(f"folds must be 0 (none) or at least 2, got {self.folds}")
        self._check_warmup()

    def _check_warmup(self) -> None:
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ConfigError(
                f"warmup_epochs must be at least 0 and fewer than the {self.epochs} epochs, "
                f"got {self.warmup_epochs}"
            )
        if self.schedule == "onecycle" and self.warmup_epochs:
            raise ConfigError(
                "the onecycle schedule has a built-in warm-up: set warmup_epochs to 0"
            )

    @property
    def keeps_best(self) -> bool:
        """Whether the run keeps the best weights instead of the last ones."""
        return self.keep == "best" or self.patience > 0

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate that the schedule's factor multiplies."""
        if self.learning_rate is not None:
            return self.learning_rate
        return PAPER_LEARNING_RATE * self.batch_size / PAPER_BATCH_SIZE

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
