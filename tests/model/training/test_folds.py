"""Folds: the network that has not seen an image scores it, and no other does."""

import json
import os
import signal
from contextlib import nullcontext
from dataclasses import replace

import pytest
from rich.progress import Progress
from typer.testing import CliRunner

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.cli import app
from model.cli.evaluate.evaluation import trained_on
from model.dataset import GOOD, Sample, read_dataset
from model.errors import CheckpointError, ConfigError, DatasetError
from model.images.areas import Area
from model.report.facts import promises
from model.scoring.scores import Scoring
from model.training import Run, TrainingData, read_training_data, train
from model.training import run as training
from model.training.folds import SCORES_FILE, deal
from model.training.progress.monitor import Bars, Monitor
from model.training.progress.state import STATE_FILE
from tests.tiny import CONFIG, recipe, write_images
from tests.tiny import options as tiny_options

FOLDED = replace(CONFIG, epochs=2, folds=2, alpha=0.2)
GOOD_IMAGES = 7


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("few")
    write_images(root / "bolt" / "train" / "good", GOOD_IMAGES)
    return root


@pytest.fixture(scope="module")
def images(root):
    return read_training_data(root, ["bolt"], None, 0.2, 0, folds=2)


class Hearing(Monitor):
    """Records the stages, and stops after `steps` steps."""

    def __init__(self, steps=10**6):
        self.stages, self.left = [], steps

    def stage(self, name):
        self.stages.append(name)

    def step(self, place, loss):
        self.left -= 1

    def stop(self):
        return self.left <= 0


def go(images, folder, hearing=None, config=FOLDED, scoring=None, **options):
    hearing = hearing or Hearing()
    run = Run(
        name="bolts", folder=folder / "run", store=CheckpointStore(folder / "w"),
        recipe=recipe(folder.parent, config, scoring=scoring or Scoring()), **options,
    )  # fmt: skip
    return train(run, images, monitor=hearing, fold_monitor=hearing, stop=hearing.stop)


def run_of(folder, config):
    tiny_recipe = recipe(folder.parent, config)
    return Run(name="x", folder=folder, store=CheckpointStore(folder), recipe=tiny_recipe)


def scores(folder):
    """The scores of the complete run, from the files of its folds."""
    paths = sorted((folder / "run").glob(f"fold-*/{SCORES_FILE}"))
    return [json.loads(path.read_text())["shown"]["bolt"] for path in paths]


@pytest.fixture(scope="module")
def uninterrupted(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    hearing = Hearing()
    return folder, go(images, folder, hearing, scoring=Scoring(standardise=True)), hearing


def test_no_image_is_held_out_and_each_is_left_out_once(images, tmp_path):
    assert (len(images.train), images.held_out) == (GOOD_IMAGES, ())
    folds = deal(run_of(tmp_path, replace(FOLDED, folds=3)), images)
    left_out = [sample for fold in folds for sample in fold.left_out]
    assert sorted(len(fold.left_out) for fold in folds) == [2, 2, 3]
    assert sorted(left_out, key=str) == sorted(images.train, key=str)
    for fold in folds:
        assert set(fold.data.train) | set(fold.left_out) == set(images.train)
        assert not set(fold.data.train) & set(fold.left_out)
        assert fold.data.held_out == ()


def test_every_category_is_dealt_evenly(tmp_path):
    samples = [Sample(tmp_path / f"{c}{n}.png", c, GOOD) for c in ("a", "b") for n in range(6)]
    run = run_of(tmp_path, replace(FOLDED, folds=3))
    for fold in deal(run, TrainingData(tuple(samples), ())):
        assert [sample.category for sample in fold.left_out] == ["a", "a", "b", "b"]


def test_thresholds_are_of_the_pooled_scores_and_say_so(uninterrupted):
    folder, checkpoint, hearing = uninterrupted
    raw = [score for fold in scores(folder) for score in fold["raw_scores"]]
    peaks = [peak for fold in scores(folder) for peak in fold["pixel_peaks"]]
    assert len(raw) == GOOD_IMAGES
    calibration = checkpoint.calibrations["bolt"]
    assert calibration == Calibration.fit(raw, peaks, 0.2, folds=2)
    assert checkpoint.manifest.calibrations["bolt"]["folds"] == 2
    assert "not a promise" in calibration.promise()
    assert promises(calibration) == []
    learned = checkpoint.manifest.training["images"]
    assert learned["train"]["bolt"].startswith(f"{GOOD_IMAGES} images")
    assert learned["held_out"] == {}
    assert hearing.stages == ["fold 1/2", "fold 2/2", "all images"]


def test_other_methods_are_fitted_on_all_that_was_learned_from(uninterrupted, root):
    assert len(trained_on(uninterrupted[1], read_dataset(root))) == GOOD_IMAGES


def test_the_folds_networks_go_and_their_records_stay(uninterrupted):
    folder, checkpoint, _ = uninterrupted
    for number in (1, 2):
        fold = folder / "run" / f"fold-{number}"
        assert not (fold / STATE_FILE).exists()
        assert (fold / "curve.jsonl").is_file()
    assert [path.name for path in (folder / "w" / "bolts").iterdir()] == ["1"]
    assert (folder / "run" / STATE_FILE).is_file()
    assert len(checkpoint.golden["bolt"].images) >= 1


def test_a_folds_baseline_is_of_the_images_it_learned_from(images, tmp_path, monkeypatch):
    seen = []
    fitted = training.fit_baselines

    def remember(detector, samples, shapes, **options):
        seen.append(set(samples))
        return fitted(detector, samples, shapes, **options)

    monkeypatch.setattr(training, "fit_baselines", remember)
    go(images, tmp_path, scoring=Scoring(standardise=True))
    folds = deal(run_of(tmp_path, FOLDED), images)
    assert seen == [*(set(fold.data.train) for fold in folds), set(images.train)]


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_a_run_that_was_stopped_goes_on_to_the_same_end(images, uninterrupted, tmp_path, steps):
    """Two steps per network: stops at the end of the first, and in the second and the last."""
    scoring = Scoring(standardise=True)
    stopped = go(images, tmp_path, Hearing(steps), scoring=scoring)
    assert (stopped is None) == (steps < 5)
    with pytest.raises(CheckpointError, match="--resume"):
        go(images, tmp_path, scoring=scoring)
    hearing = Hearing()
    checkpoint = go(images, tmp_path, hearing, scoring=scoring, resume=True)
    assert scores(tmp_path) == scores(uninterrupted[0])
    assert checkpoint.calibrations == uninterrupted[1].calibrations
    assert checkpoint.manifest.sha256 == uninterrupted[1].manifest.sha256
    assert hearing.stages == uninterrupted[2].stages[{2: 0, 3: 1, 5: 2}[steps] :]


def test_another_recipe_does_not_go_on_and_a_restart_begins_anew(images, tmp_path):
    go(images, tmp_path, Hearing(3))
    with pytest.raises(CheckpointError, match=r"training\.alpha was 0\.2, is 0\.3"):
        go(images, tmp_path, config=replace(FOLDED, alpha=0.3), resume=True)
    hearing = Hearing()
    three = replace(FOLDED, folds=3, epochs=1)
    go(images, tmp_path, hearing, three, restart=True)
    assert hearing.stages == ["fold 1/3", "fold 2/3", "fold 3/3", "all images"]
    assert len(scores(tmp_path)) == 3
    hearing = Hearing()
    fewer = replace(FOLDED, epochs=1)
    assert go(images, tmp_path, hearing, fewer).version == "2"  # despite the finished run
    assert (len(hearing.stages), len(scores(tmp_path))) == (3, 2)


def test_what_folds_cannot_do_is_refused_before_anything_is_trained(images, root, tmp_path):
    with pytest.raises(DatasetError, match="7 good images, expected at least one for each"):
        go(images, tmp_path, config=replace(FOLDED, folds=8))
    held_out = replace(images, train=images.train[1:], held_out=images.train[:1])
    with pytest.raises(ConfigError, match="but 1 are held out"):
        go(held_out, tmp_path)
    with pytest.raises(ConfigError, match="--max-minutes"):
        go(images, tmp_path, max_minutes=5)
    with pytest.raises(ConfigError, match="an area of nut"):
        go(images, tmp_path, areas={"nut": Area()})
    with pytest.raises(CheckpointError, match="nothing to resume"):
        go(images, tmp_path, resume=True)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DatasetError, match="are held out"):
        read_training_data(root, ["bolt"], root / "bolt" / "train", 0.2, 0, folds=3)
    for folds in (-1, 1):
        with pytest.raises(ConfigError, match="at least 2"):
            replace(CONFIG, folds=folds)


def test_watched_images_are_in_no_fold(images, tmp_path):
    heard = Hearing()
    config = replace(FOLDED, epochs=1, watch_fraction=0.3, keep="best")
    checkpoint = go(images, tmp_path, heard, config)
    watched = checkpoint.manifest.training["images"]["watch"]["bolt"]
    assert watched.startswith("2 images")
    assert sum(len(fold["raw_scores"]) for fold in scores(tmp_path)) == GOOD_IMAGES - 2


def test_the_command_says_which_fold_it_is_in_and_that_nothing_is_promised(root, tmp_path):
    options = [*tiny_options(tmp_path.parent), "--epochs", "1", "--batch-size", "4"]
    options += ["--weights", str(tmp_path / "w"), "--no-self-check"]
    command = ["train", str(root), "--name", "bolts", "--folds", "2", *options]
    result = CliRunner().invoke(app, [*command, "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    assert "7 good images to train on, in 2 folds, of bolt" in result.stderr
    for line in ("fold 1/2", "fold 2/2", "all images"):
        assert line in result.stderr.splitlines()
    assert "About 12.5 % of good parts (1 % needs at least 99 images)" in result.stdout
    assert "an estimate, not a promise" in result.stdout
    again = ["calibrate", "bolts", str(root), "--weights", str(tmp_path / "w")]
    refused = CliRunner().invoke(app, again)
    assert refused.exit_code == 2
    assert "in folds, on all good images" in refused.stderr


def test_bars_are_named_after_the_fold():
    with Progress(disable=True) as progress:
        Bars(progress).stage("fold 1/2")
        assert [task.description for task in progress.tasks] == ["fold 1/2", "epoch"]


def test_ctrl_c_in_a_fold_leaves_no_checkpoint_and_says_how_to_go_on(root, tmp_path, monkeypatch):
    class Interrupted(Hearing):
        def step(self, place, loss):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(
        "model.training.progress.monitor.watch", lambda _: nullcontext(Interrupted())
    )
    options = [*tiny_options(tmp_path.parent), "--epochs", "2", "--batch-size", "4"]
    options += ["--weights", str(tmp_path / "w"), "--no-self-check"]
    command = ["train", str(root), "--name", "bolts", "--folds", "2", *options]
    result = CliRunner().invoke(app, [*command, "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 130
    assert (
        "stopped before the last network: continue with the same command and --resume"
        in result.stdout
    )
    assert not (tmp_path / "w").exists()
    assert (tmp_path / "runs" / "bolts" / "fold-1" / STATE_FILE).is_file()
