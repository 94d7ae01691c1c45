"""Train a network on good images and save a calibrated checkpoint.

    data = read_training_data(Path("data/mvtec"), ["bottle"], None, 0.2, seed=0)
    checkpoint = train(Run(name="bottle", folder=folder, store=store), data)

advice/       self-check and recommendation after a run
recipe/       all settings of a run
progress/     log lines, the saved state of a run, when to stop
parallel/     several processes
data          training and held-out images         batches    the order of images
objective     loss and learning rate               trainer    the loop
thresholds    calibration                          golden     images that verify devices
run           a complete run                       folds      thresholds without held-out images
expectation   how long a run will take             applying/  what a recipe does to tensors

The trainer keeps no random state: order, augmentation, noise and dropped paths depend only on the
seed and the step's number. So a killed run continues bit for bit, and each of several processes
can draw the numbers of the whole batch and use those of its rows.

Test images affect neither threshold nor epoch nor recipe. Thresholds are set on held-out good
images, because a network's scores of its training images are too low.
"""

from typing import TYPE_CHECKING

from model.imports.lazy import lazily

if TYPE_CHECKING:
    from model.training.data import TrainingData, read_training_data
    from model.training.folds import train
    from model.training.recipe.augmentation import Augmentation
    from model.training.recipe.config import TrainingConfig
    from model.training.recipe.recipe import Recipe
    from model.training.run import Run, build_network
    from model.training.thresholds import calibrate
    from model.training.trainer import Trainer

__all__ = [
    "Augmentation",
    "Recipe",
    "Run",
    "Trainer",
    "TrainingConfig",
    "TrainingData",
    "build_network",
    "calibrate",
    "read_training_data",
    "train",
]

__getattr__ = lazily(
    __name__,
    {
        "Augmentation": "model.training.recipe.augmentation",
        "Recipe": "model.training.recipe.recipe",
        "Run": "model.training.run",
        "Trainer": "model.training.trainer",
        "TrainingConfig": "model.training.recipe.config",
        "TrainingData": "model.training.data",
        "build_network": "model.training.run",
        "calibrate": "model.training.thresholds",
        "read_training_data": "model.training.data",
        "train": "model.training.folds",
    },
)
