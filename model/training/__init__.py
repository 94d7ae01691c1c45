"""From good images to a calibrated checkpoint.

config        the recipe                     data          what is learned from, what is held out
augmentation  harmless changes to images     batches       the order that the seed fixes
objective     loss and learning rate         average       the weights' moving average
trainer       the loop                       state         an unfinished run on disk
thresholds    calibration                    golden        images to compare devices by
monitor       bars and log lines             interrupt     Ctrl-C
run           all of it together             folds         thresholds where none are held out
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
