"""The trainer: a tiny network, real steps, and guarantees for interrupted runs."""

import io
import math
import os
import re
import signal
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from model.checkpoints.checkpoint import CheckpointStore
from model.dataset import GOOD, ImageDataset, Sample
from model.engines.torch.device import read_device
from model.errors import (
    CalibrationError,
    CheckpointError,
    ConfigError,
    DatasetError,
    NonFiniteOutput,
    UnknownCategory,
    WeightsError,
)
from model.network import MambaAD
from model.runtimes.torch import open_checkpoint, torch_detector
from model.scoring.scores import Scoring
from model.training import (
    Augmentation,
    Run,
    Trainer,
    TrainingConfig,
    TrainingData,
    calibrate,
    read_training_data,
    train,
)
from model.training.applying.augmentation import augment
from model.training.batches import epoch_order, load_batches, seed_for
from model.training.objective import feature_loss, learning_rate
from model.training.progress.interrupt import stop_on_interrupt
from model.training.progress.monitor import Bars, Lines, Monitor, watch
from model.training.progress.state import (
    STATE_FILE,
    EpochRecord,
    Place,
    load_state,
    read_place,
    save_state,
)
from tests.tiny import (
    CONFIG,
    PREPROCESSING,
    TINY,
    Recorder,
    always,
    recipe,
    same,
    write_images,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    write_images(root / "bolt" / "train" / "good", 9)
    write_images(root / "bolt" / "held_out" / "good", 3, seed=1)
    write_images(root / "nut" / "train" / "good", 5, seed=2)
    return root


@pytest.fixture(scope="session")
def data(root):
    return read_training_data(root, ["bolt"], None, 0.2, 0)


def new_trainer(data, config=CONFIG, network_seed=0):
    torch.manual_seed(network_seed)
    return Trainer(config, MambaAD(TINY), PREPROCESSING, data, CPU)


def steps(count):
    """A go_on that stops after `count` steps."""
    left = iter(range(count - 1))
    return lambda: next(left, None) is not None


def weights(trainer):
    with trainer.final_weights() as network:
        return {key: value.clone() for key, value in network.trained_state().items()}


# The recipe


def test_defaults_are_the_papers_recipe():
    config = TrainingConfig()
    assert (config.loss, config.schedule, config.decay_at) == ("mse", "step", 0.8)
    assert (config.epochs, config.batch_size, config.weight_decay) == (1000, 16, 1e-4)
    assert config.peak_learning_rate == 0.005
    assert (config.clip_norm, config.ema_decay, config.warmup_epochs) == (0, 0, 0)
    assert not config.augmentation.changes_anything


def test_learning_rate_follows_the_batch_size():
    assert TrainingConfig(batch_size=8).peak_learning_rate == 0.0025
    assert TrainingConfig(batch_size=8, learning_rate=0.1).peak_learning_rate == 0.1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("weight_decay", -1.0),
        ("loss", "l1"),
        ("schedule", "linear"),
        ("decay_at", 1.0),
        ("warmup_epochs", 1000),
        ("clip_norm", -1.0),
        ("ema_decay", 1.0),
        ("held_out_fraction", 0.0),
        ("alpha", 1.0),
        ("seed", -1),
    ],
)
def test_impossible_recipes_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        TrainingConfig(**{field: value})


def test_onecycle_refuses_a_second_warm_up():
    with pytest.raises(ConfigError, match="built-in warm-up"):
        TrainingConfig(schedule="onecycle", warmup_epochs=1)


# Loss and learning rate


def test_mse_is_five_times_the_squared_error_summed_over_scales():
    teacher = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 2, 2)]
    student = [torch.full((2, 3, 4, 4), 2.0), torch.ones(2, 5, 2, 2)]
    assert feature_loss("mse", teacher, student).item() == pytest.approx(5 * (4 + 1))


def test_cosine_is_blind_to_length_and_two_for_opposites():
    teacher = [torch.randn(2, 3, 4, 4)]
    assert feature_loss("cosine", teacher, [3 * teacher[0]]).item() == pytest.approx(0, abs=1e-6)
    assert feature_loss("cosine", teacher, [-teacher[0]]).item() == pytest.approx(2)


def test_step_falls_to_a_tenth_at_four_fifths():
    config = TrainingConfig(epochs=10, learning_rate=1.0)
    rates = [learning_rate(config, step, 3) for step in range(30)]
    assert rates == [1.0] * 24 + [0.1] * 6


def test_warm_up_climbs_to_the_peak():
    config = TrainingConfig(epochs=10, learning_rate=1.0, warmup_epochs=2)
    rates = [learning_rate(config, step, 2) for step in range(5)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_cosine_schedule_falls_all_the_way():
    config = TrainingConfig(epochs=10, learning_rate=1.0, schedule="cosine", warmup_epochs=1)
    rates = [learning_rate(config, step, 10) for step in range(100)]
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert all(after < before for before, after in pairwise(rates[10:]))
    assert rates[-1] < 0.01


def test_onecycle_climbs_and_falls():
    config = TrainingConfig(epochs=10, learning_rate=1.0, schedule="onecycle")
    rates = [learning_rate(config, step, 10) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 25)
    assert np.argmax(rates) == 30
    assert rates[30] == pytest.approx(1.0)
    assert rates[-1] < 0.01


# Augmentation


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture():
    return torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=generator(3))


def test_no_augmentation_changes_nothing():
    image = picture()
    assert torch.equal(augment(Augmentation(), image, generator()), image)


@pytest.mark.parametrize(("option", "axis"), [("hflip", -1), ("vflip", -2)])
def test_flips_mirror_half_of_the_time(option, axis):
    image, augmentation = picture(), Augmentation(**{option: True})
    flipped = 0
    for seed in range(200):
        changed = augment(augmentation, image, generator(seed))
        if torch.equal(changed, image.flip(axis)):
            flipped += 1
        else:
            assert torch.equal(changed, image)
    assert 70 < flipped < 130


def test_rot90_takes_every_quarter_turn():
    image = picture()
    turns = [image.rot90(k, (-2, -1)) for k in range(4)]
    seen = set()
    for seed in range(60):
        changed = augment(Augmentation(rot90=True), image, generator(seed))
        seen.add(next(k for k, turn in enumerate(turns) if torch.equal(turn, changed)))
    assert seen == {0, 1, 2, 3}


def test_rot90_refuses_an_oblong():
    with pytest.raises(ConfigError, match="square"):
        augment(Augmentation(rot90=True), torch.zeros(3, 4, 8, dtype=torch.uint8), generator())


def test_shift_repeats_the_edge():
    ramp = torch.arange(10, dtype=torch.uint8).expand(3, 10, 10).contiguous()
    for seed in range(20):
        row = augment(Augmentation(shift=0.3), ramp, generator(seed))[0, 0].int()
        assert set(row.diff().tolist()) <= {0, 1}
        assert abs(int(row[5]) - 5) <= 3
    assert (
        len({int(augment(Augmentation(shift=0.3), ramp, generator(s))[0, 0, 5]) for s in range(20)})
        > 3
    )


def test_brightness_scales_and_saturates():
    image = torch.tensor([0, 100, 250], dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 4)
    for seed in range(20):
        changed = (
            augment(Augmentation(brightness=0.2), image, generator(seed))[:, 0, 0].int().tolist()
        )
        assert changed[0] == 0
        assert 80 <= changed[1] <= 120
        assert (
            changed[2] == min(255, round(2.5 * changed[1]))
            or abs(changed[2] - 2.5 * changed[1]) <= 2
        )


def test_one_option_leaves_the_others_draws_alone():
    image = picture()
    alone = augment(Augmentation(vflip=True), image, generator(5))
    both = augment(Augmentation(vflip=True, brightness=1e-9), image, generator(5))
    assert torch.equal(alone, both)


@pytest.mark.parametrize("option", ["shift", "brightness"])
def test_augmentation_beyond_half_is_refused(option):
    with pytest.raises(ConfigError, match=option):
        Augmentation(**{option: 0.6})


# Order and batches


def test_each_image_comes_once_and_the_left_out_ones_change():
    epochs = [epoch_order(10, 4, 0, epoch) for epoch in range(20)]
    for order in epochs:
        seen = [index for batch in order for index in batch]
        assert [len(batch) for batch in order] == [4, 4]
        assert len(set(seen)) == 8
    assert {index for order in epochs for batch in order for index in batch} == set(range(10))
    assert len({tuple(order[0]) for order in epochs}) > 10


def test_fewer_images_than_a_batch_make_one_batch():
    (batch,) = epoch_order(3, 16, 0, 0)
    assert sorted(batch) == [0, 1, 2]


def test_seeds_differ_by_purpose_and_place():
    seeds = {seed_for(p, s, e, t) for p in (1, 2) for s in (0, 1) for e in (0, 1) for t in (0, 1)}
    assert len(seeds) == 16


def test_batches_are_the_images_asked_for(data):
    trainer = new_trainer(data)
    order = [[4, 2], [0, 1], [5]]
    batches = [batch.clone() for batch in load_batches(trainer._images, order)]
    for batch, indices in zip(batches, order, strict=True):
        assert torch.equal(batch, torch.stack([trainer._images[index][0] for index in indices]))


def test_an_unreadable_image_is_an_error_in_the_loop(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    bad = Sample(tmp_path / "bad.png", "bolt", GOOD)
    with pytest.raises(Exception, match=r"bad\.png"):
        new_trainer(TrainingData((bad,), ())).run(Monitor(), always)


# Data


def test_a_held_out_folder_is_taken_as_it_is(data, root):
    assert {sample.path.parent for sample in data.held_out} == {root / "bolt/held_out/good"}
    assert (len(data.train), len(data.held_out)) == (9, 3)


def test_without_one_a_share_is_held_out_by_the_seed(root):
    training_data = read_training_data(root, None, None, 0.2, 0)
    nuts = [sample for sample in training_data.held_out if sample.category == "nut"]
    assert len(nuts) == 1
    assert not set(training_data.train) & set(training_data.held_out)
    assert training_data.categories == ("bolt", "nut")


def test_a_held_out_folder_elsewhere_comes_first(root, tmp_path):
    write_images(tmp_path / "apart" / "bolt", 2, seed=9)
    training_data = read_training_data(root, ["bolt"], tmp_path / "apart", 0.2, 0)
    assert {sample.path.parent for sample in training_data.held_out} == {
        tmp_path / "apart" / "bolt"
    }
    single = read_training_data(root, ["bolt"], tmp_path / "apart" / "bolt", 0.2, 0)
    assert single == training_data


def test_a_single_categorys_folder_may_be_the_root(root, data):
    assert len(read_training_data(root / "bolt", None, None, 0.2, 0).held_out) == 3


def test_no_good_images_is_said(tmp_path):
    write_images(tmp_path / "bolt" / "test" / "good", 1)
    with pytest.raises(DatasetError, match="no good images of 'bolt'"):
        read_training_data(tmp_path, None, None, 0.2, 0)
    with pytest.raises(DatasetError, match="no good images"):
        TrainingData((), ())


def test_an_empty_held_out_folder_is_said(tmp_path):
    write_images(tmp_path / "bolt" / "train" / "good", 2)
    (tmp_path / "bolt" / "held_out").mkdir()
    with pytest.raises(DatasetError, match="held_out"):
        read_training_data(tmp_path, None, None, 0.2, 0)


# The loop


def test_the_loss_falls_and_the_encoder_stays(data):
    trainer, recorder = new_trainer(data, replace(CONFIG, epochs=8)), Recorder()
    before = {k: v.clone() for k, v in trainer.network.encoder.state_dict().items()}
    trainer.run(recorder, always)
    assert same(before, dict(trainer.network.encoder.state_dict()))
    assert recorder.records[-1].loss < 0.9 * recorder.records[0].loss
    assert recorder.records[-1].held_out_loss < recorder.records[0].held_out_loss
    assert trainer.finished
    assert len(recorder.losses) == 8 * trainer.steps_per_epoch == 16


def test_a_seed_gives_the_same_weights_and_another_seed_others(data):
    trained = []
    for seed in (7, 7, 8):
        trainer = new_trainer(data, replace(CONFIG, epochs=1, seed=seed))
        trainer.run(Monitor(), always)
        trained.append(weights(trainer))
    assert same(trained[0], trained[1])
    assert not same(trained[0], trained[2])


def test_training_leaves_the_callers_random_state_alone(data):
    trainer = new_trainer(data)
    before = torch.get_rng_state()
    trainer.run(Monitor(), steps(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_interrupted_and_resumed_is_uninterrupted(data, tmp_path, stop_after):
    """Mid-epoch, at an epoch's end, and in the next one, with all options on."""
    config = replace(
        CONFIG,
        ema_decay=0.9,
        clip_norm=1.0,
        schedule="cosine",
        augmentation=Augmentation(hflip=True, shift=0.1, brightness=0.1),
    )
    uninterrupted, recorded = new_trainer(data, config), Recorder()
    uninterrupted.run(recorded, always)

    first, second = new_trainer(data, config), new_trainer(data, config, network_seed=99)
    second.network.encoder.load_state_dict(first.network.encoder.state_dict())
    heard = Recorder()
    first.run(heard, steps(stop_after))
    first.save(tmp_path)
    torch.manual_seed(12345)
    second.resume(tmp_path)
    second.run(heard, always)

    assert same(weights(uninterrupted), weights(second))
    assert same(uninterrupted.network.trained_state(), second.network.trained_state())
    assert heard.losses == recorded.losses
    assert [(r.loss, r.held_out_loss) for r in second.place.history] == [
        (r.loss, r.held_out_loss) for r in uninterrupted.place.history
    ]


def test_the_average_lags_behind_and_is_what_is_kept(data):
    trainer = new_trainer(data, replace(CONFIG, ema_decay=0.99))
    trainer.run(Monitor(), steps(3))
    live = {key: value.clone() for key, value in trainer.network.trained_state().items()}
    averaged = weights(trainer)
    assert not same(live, averaged)
    assert same(live, trainer.network.trained_state())


def test_clipping_bounds_the_gradient(data):
    trainer = new_trainer(data, replace(CONFIG, clip_norm=1e-3))
    trainer.run(Monitor(), steps(1))
    norms = [p.grad.norm() for p in trainer._parameters.values() if p.grad is not None]
    assert torch.stack(norms).norm() == pytest.approx(1e-3, rel=1e-3)


def test_a_loss_that_is_no_number_stops_the_run(data):
    trainer = new_trainer(data)
    with torch.no_grad():
        next(iter(trainer._parameters.values())).fill_(math.nan)
    with pytest.raises(NonFiniteOutput, match=r"epoch 1, step 1, at learning rate 0\.001"):
        trainer.run(Monitor(), always)


# The state on disk


def test_a_state_of_another_recipe_is_refused_by_what_differs(data, tmp_path):
    trainer = new_trainer(data)
    trainer.save(tmp_path)
    other = new_trainer(data, replace(CONFIG, loss="mse"))
    other.network.encoder.load_state_dict(trainer.network.encoder.state_dict())
    with pytest.raises(CheckpointError, match=r"training\.loss was 'cosine', is 'mse'"):
        other.resume(tmp_path)


def test_a_state_of_other_images_is_refused(data, tmp_path):
    new_trainer(data).save(tmp_path)
    fewer = TrainingData(data.train[:-1], data.held_out)
    with pytest.raises(CheckpointError, match=r"images.train.bolt was '9 images"):
        new_trainer(fewer).resume(tmp_path)


def test_a_missing_or_damaged_state_is_said(tmp_path):
    assert read_place(tmp_path) is None
    with pytest.raises(CheckpointError, match="nothing to resume"):
        load_state(tmp_path, {})
    (tmp_path / STATE_FILE).write_bytes(b"\x08\0\0\0\0\0\0\0damaged!")
    with pytest.raises(CheckpointError, match="not the state of a run"):
        read_place(tmp_path)


def test_a_disk_that_refuses_leaves_the_earlier_state(tmp_path, monkeypatch):
    save_state(tmp_path, {}, Place(epoch=1), {"x": torch.ones(2)})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("model.durable.os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_state(tmp_path, {}, Place(epoch=2), {"x": torch.zeros(2)})
    place, tensors = load_state(tmp_path, {})
    assert (place.epoch, tensors["x"].tolist()) == (1, [1, 1])


# A complete run


def new_run(tmp_path, tiny_recipe=None, **changes):
    store = CheckpointStore(tmp_path / "w")
    tiny_recipe = tiny_recipe or recipe(tmp_path.parent, scoring=Scoring(statistic="top_mean"))
    return Run(name="bolts", folder=tmp_path / "run", store=store, recipe=tiny_recipe, **changes)


def go(run, data, stop=lambda: False):
    return train(run, data, stop=stop)


def test_a_run_ends_in_a_calibrated_checkpoint(data, tmp_path):
    go(new_run(tmp_path, license="CC0", notice="Noise"), data)
    checkpoint = CheckpointStore(tmp_path / "w").load("bolts")
    manifest = checkpoint.manifest
    assert manifest.categories == ("bolt",)
    assert checkpoint.calibrations["bolt"].good_images == 3
    assert checkpoint.scoring.statistic == "top_mean"
    assert (manifest.license, manifest.notice) == ("CC0", "Noise")
    assert manifest.training["finished"]
    assert manifest.training["epochs_done"] == 3
    assert manifest.training["recipe"]["loss"] == "cosine"

    images = [Image.open(sample.path) for sample in data.held_out]
    scores = [i.raw_score for i in open_checkpoint(checkpoint).inspect_images(images, "bolt")]
    assert checkpoint.calibrations["bolt"].image_threshold == pytest.approx(max(scores), rel=1e-5)


def test_standardising_measures_from_the_images_trained_on(data, tmp_path):
    run = new_run(tmp_path, recipe(tmp_path.parent, scoring=Scoring(standardise=True)))
    checkpoint = go(run, data)
    loaded = run.store.load(run.name)
    detector = open_checkpoint(loaded)
    images = ImageDataset(data.train, detector.preprocessing)
    batch = np.stack([images[i][0].numpy() for i in range(len(images))])
    plain = detector.anomaly_maps(batch)
    expected = (plain - plain.mean(axis=0)) / loaded.baselines["bolt"].deviation
    maps = detector.anomaly_maps(batch, ["bolt"] * len(images))
    np.testing.assert_allclose(maps, expected, atol=1e-3)
    assert checkpoint.calibrations == loaded.calibrations
    assert loaded.calibrations["bolt"].good_images == len(data.held_out)


def test_gaussians_are_of_the_differences_of_the_images_trained_on(data, tmp_path):
    scoring = Scoring(distance="mahalanobis", scale_weights=(0.0, 1.0, 1.0))
    run = new_run(tmp_path, recipe(tmp_path.parent, scoring=scoring))
    checkpoint = go(run, data)
    loaded = run.store.load(run.name)
    detector = open_checkpoint(loaded)
    images = ImageDataset(data.train, detector.preprocessing)
    batch = np.stack([images[i][0].numpy() for i in range(len(images))])
    differences = detector.compare(batch)
    baseline = loaded.baselines["bolt"]
    mean = np.concatenate([scale.mean.ravel() for scale in baseline.scales])
    np.testing.assert_allclose(mean, differences.mean(axis=0), atol=1e-3)
    assert baseline.shapes == list(loaded.network.feature_shapes[1:])
    assert checkpoint.calibrations == loaded.calibrations
    assert loaded.golden["bolt"].raw_scores == pytest.approx(
        detector.raw_scores(loaded.golden["bolt"].images, ["bolt"] * len(data.held_out)), rel=1e-4
    )
    with pytest.raises(UnknownCategory, match="no maps without a category"):
        detector.anomaly_maps(batch)


def test_stopped_runs_keep_a_checkpoint_and_go_on_to_the_same_weights(data, tmp_path):
    uninterrupted = go(new_run(tmp_path / "whole"), data)

    stops = iter([False, False, True])
    stopped = go(new_run(tmp_path), data, stop=lambda: next(stops))
    assert not stopped.manifest.training["finished"]
    assert stopped.manifest.training["steps_done"] == 3
    assert stopped.manifest.categories == ("bolt",)

    with pytest.raises(CheckpointError, match="--resume"):
        go(new_run(tmp_path), data)

    resumed = go(new_run(tmp_path, resume=True), data)
    assert resumed.version == "2"
    assert resumed.manifest.training["finished"]
    assert resumed.manifest.sha256 == uninterrupted.manifest.sha256
    assert resumed.calibrations == uninterrupted.calibrations


def test_restart_gives_up_an_unfinished_run(data, tmp_path):
    go(new_run(tmp_path), data, stop=lambda: True)
    assert go(new_run(tmp_path, restart=True), data).manifest.training["finished"]


def test_the_state_is_saved_on_the_way(data, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Trainer, "save", lambda self, folder: saved.append(self.place.step))
    single_epoch = recipe(tmp_path.parent, replace(CONFIG, epochs=1))
    go(new_run(tmp_path, single_epoch, save_every_s=0.0), data)
    assert saved == [1, 2, 0]


def test_wrong_encoder_weights_are_refused_before_training(data, tmp_path):
    none = recipe(tmp_path.parent, encoder_weights=str(tmp_path / "none.pth"))
    with pytest.raises(WeightsError, match="no weights file"):
        go(new_run(tmp_path, none), data)


@pytest.mark.parametrize("name", ["tpu", "mps", "cuda:99"])
def test_a_device_that_is_not_here_is_said(name):
    with pytest.raises(ConfigError, match=name):
        read_device(name)


def test_calibration_takes_good_images_only(data):
    detector = torch_detector(MambaAD(TINY), PREPROCESSING, Scoring(), {})
    with pytest.raises(CalibrationError, match="no held-out"):
        calibrate(detector, Scoring(), [], 0.01)
    bad = replace(data.held_out[0], defect="scratch")
    with pytest.raises(CalibrationError, match="good images only"):
        calibrate(detector, Scoring(), [bad], 0.01)


# Watching and stopping


def test_the_first_interrupt_asks_and_the_second_insists():
    notices = []
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt(lambda: notices.append("stopping")) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert notices == ["stopping"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def watched(console, data):
    trainer = new_trainer(data)
    with watch(console) as monitor:
        trainer.run(monitor, always)
        return type(monitor)


def test_a_log_gets_a_line_an_epoch(data):
    console = Console(file=io.StringIO(), record=True)
    assert watched(console, data) is Lines
    first, *epochs = console.export_text().splitlines()
    assert first == "3 epochs of 2 steps"
    assert [line.split(" loss")[0] for line in epochs] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("held out" in line and "left" in line for line in epochs)


def test_a_terminal_gets_bars(data):
    console = Console(force_terminal=True, record=True, width=120, file=io.StringIO())
    assert watched(console, data) is Bars
    shown = console.export_text()
    assert "epoch 3/3" in shown
    assert "6/6" in shown
    assert "held out" in shown


def test_the_time_left_counts_the_steps_of_this_network_alone():
    console = Console(file=io.StringIO(), record=True)
    lines = Lines(console)
    lines.begin(2, 50, Place())
    for step in range(1, 51):
        lines.step(Place(step=step, loss_sum=1.0), 0.5)
    lines.begin(2, 50, Place())
    lines._started -= 10
    lines.step(Place(step=1, loss_sum=0.5), 0.5)
    lines.epoch(EpochRecord(1, 0.5, None, 0.1, 1.0, 8.0))
    hours, minutes, seconds = re.search(r"(\d+):(\d+):(\d+) left", console.export_text()).groups()
    # Its single step took ten seconds at least, and 99 are left.
    assert 3600 * int(hours) + 60 * int(minutes) + int(seconds) >= 990


def test_a_long_epoch_is_not_silent():
    console = Console(file=io.StringIO(), record=True)
    lines = Lines(console)
    lines.begin(2, 100, Place(epoch=1, step=4))
    lines._printed_at -= 61
    lines.step(Place(epoch=1, step=5, loss_sum=2.5), 0.5)
    lines.epoch(EpochRecord(2, 0.5, None, 0.1, 1.0, 8.0))
    text = console.export_text()
    assert "from epoch 2, step 5" in text
    assert "epoch 2/2 step 5/100 loss 0.5000" in text
    assert "held out" not in text
