"""After kill -9 during a save, the previous state resumes, bit for bit."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model import durable
from model.checkpoints.checkpoint import CheckpointStore
from model.errors import CheckpointError
from model.training import Augmentation, Run, Trainer, read_training_data, train
from model.training.progress.state import STATE_FILE, read_place
from model.training.recipe.disturbance import Disturbance
from model.training.recipe.emphasis import Emphasis
from tests.tiny import CONFIG, recipe, same

ROOT = Path(__file__).parents[3]
EVERYTHING = replace(
    CONFIG,
    epochs=2,
    ema_decay=0.9,
    clip_norm=1.0,
    schedule="onecycle",
    keep="best",
    standardise_features=True,
    augmentation=Augmentation(hflip=True, shift=0.1, brightness=0.1),
    disturbance=Disturbance(feature_noise=0.5, feature_noise_probability=0.5, fusion_dropout=0.2),
    emphasis=Emphasis(hard_mining=0.5, border_share=0.1, border_weight=0.5),
)
KILLED_IN_SAVE = 4
"""The last of the three saves before is the second epoch's first step."""


def go(root, folder, **options):
    run = Run(
        name="bolts", folder=folder / "run", store=CheckpointStore(folder / "w"),
        recipe=recipe(root, EVERYTHING), save_every_s=0.0, **options,
    )  # fmt: skip
    return train(run, read_training_data(root, ["bolt"], None, 0.2, 0))


def hang_in_a_save(root, folder):
    """Stop in the middle of a save, with a half-written file."""
    saves, save, fsync = iter(range(1, 100)), Trainer.save, os.fsync
    now = 0

    def counted(self, place):
        nonlocal now
        now = next(saves)
        save(self, place)

    def standing(descriptor):
        if now == KILLED_IN_SAVE:
            print("writing", flush=True)
            signal.pause()
        fsync(descriptor)

    Trainer.save = counted
    durable.os.fsync = standing
    go(Path(root), Path(folder))


def test_killed_while_saving_and_resumed_is_uninterrupted(root, tmp_path):
    uninterrupted = go(root, tmp_path / "whole")

    code = f"from {__name__} import hang_in_a_save as go; import sys; go(*sys.argv[1:])"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "writing\n"
    child.kill()
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()

    folder = tmp_path / "run"
    assert list(folder.glob(f".{STATE_FILE}.*"))
    place = read_place(folder)
    assert (place.epoch, place.step) == (1, 1)
    with pytest.raises(CheckpointError, match="--resume"):
        go(root, tmp_path)

    resumed = go(root, tmp_path, resume=True)
    assert not list(folder.glob(".*"))
    assert resumed.manifest.sha256 == uninterrupted.manifest.sha256
    assert same(resumed.network.trained_state(), uninterrupted.network.trained_state())
    assert resumed.calibrations == uninterrupted.calibrations
    curve, expected = (c.manifest.training["curve"] for c in (resumed, uninterrupted))
    assert curve == expected
    assert resumed.manifest.training["kept"] == uninterrupted.manifest.training["kept"]


def test_the_time_used_up_keeps_the_best_and_can_go_on(root, data, tmp_path):
    store = CheckpointStore(tmp_path / "w")
    two_epochs = recipe(tmp_path.parent, replace(CONFIG, epochs=2))
    run = Run(
        name="bolts", folder=tmp_path / "run", store=store, recipe=two_epochs, max_minutes=0.0
    )
    cut = train(run, data).manifest.training
    assert (cut["ended"], cut["finished"], cut["steps_done"]) == ("out of time", False, 1)
    assert cut["kept"]["epoch"] == 1
    assert store.load("bolts").calibrations
    longer = replace(run, resume=True, max_minutes=None)
    completed = train(longer, data).manifest.training
    assert (completed["ended"], completed["finished"], completed["kept"]) == (
        "all epochs",
        True,
        "last",
    )
