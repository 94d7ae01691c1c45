"""From good images to a calibrated checkpoint.

recipe/       every value that decides the result
progress/     log lines, the unfinished run on disk, when to stop
parallel/     several processes
data          what is learned from, what is held out    batches    the order that the seed fixes
objective     loss and learning rate                    trainer    the loop
thresholds    calibration                               golden     images to compare devices by
run           all of it together                        folds      thresholds, no image held out

The trainer carries no random state: order, augmentation, noise and dropped paths follow from the
seed and the step's number. So a killed run goes on bit for bit, and each of several processes can
draw the numbers of the whole batch and use those of its own rows.

Test images choose nothing: not the threshold, not the epoch, not the recipe. Thresholds are set on
held-out good images, since the scores of images that the network has learned from are too low.
"""

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
