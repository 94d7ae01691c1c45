"""A training says before its first step how long it will take, and that changes nothing."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from model.training import TrainingConfig
from model.training.advice import check_time
from model.training.applying.augmentation import augment
from model.training.expectation import (
    Speed,
    Work,
    encoded,
    expect,
    expected_s,
    measure,
    words,
)
from model.training.progress.monitor import Lines, Monitors
from model.training.recipe.augmentation import Augmentation
from tests.tiny import CONFIG

SPEED = Speed(decode_s=0.0, encode_s=1.0, rebuild_s=2.0, step_s=5.0)
WORK = Work(trained=9, held_out=3, watched=3)


def test_a_run_is_its_steps_its_watching_and_one_pass_at_the_end():
    config = TrainingConfig(epochs=2, batch_size=4)
    assert expected_s(config, SPEED, WORK) == 2 * (8 * (1 + 5) + 3 * (1 + 2)) + 12 * (1 + 2)


def test_images_are_read_to_check_them_and_to_learn_from_them():
    config = TrainingConfig(epochs=1, batch_size=4)
    slow = replace(SPEED, decode_s=10.0)
    work = replace(WORK, trained=8, held_out=2)
    more = expected_s(config, slow, work) - expected_s(config, SPEED, work)
    assert more == 2 * 10 * 10


def test_folds_take_as_long_as_all_their_networks():
    config = TrainingConfig(epochs=3, batch_size=1, folds=5)
    alone = replace(config, folds=0)
    work = Work(trained=80, held_out=0, watched=0)
    per_fold = expected_s(alone, SPEED, work)
    on_all = expected_s(alone, SPEED, replace(work, trained=100))
    assert expected_s(config, SPEED, work) == pytest.approx(5 * per_fold + on_all)


def test_kept_features_are_not_computed_again():
    kept = replace(WORK, versions=1, room=100)
    assert encoded(10, 9, kept) == 9 + 3
    assert encoded(10, 9, replace(kept, versions=2)) == pytest.approx(18 * (1 - 0.5**10) + 3)
    assert encoded(1, 8, replace(kept, versions=4)) == 8 + 3  # no image comes twice
    assert encoded(10, 9, replace(kept, room=6)) == 12 + (120 - 12) / 2  # half have no room
    assert encoded(10, 9, replace(kept, versions=None)) == 90 + 3
    assert encoded(10, 9, replace(kept, room=0)) == 90 + 30


@pytest.mark.parametrize(
    ("changes", "versions"),
    [({}, 1), ({"vflip": True}, 2), ({"hflip": True, "vflip": True}, 4), ({"rot90": True}, 4),
     ({"rot90": True, "hflip": True}, 8), ({"hflip": True, "shift": 0.1}, None),
     ({"brightness": 0.1}, None)],
)  # fmt: skip
def test_versions_of_an_image_are_counted(changes, versions):
    augmentation = Augmentation(**changes)
    assert augmentation.versions == versions
    image = torch.arange(3 * 4 * 4, dtype=torch.uint8).view(3, 4, 4)
    generator = torch.Generator().manual_seed(0)
    seen = {augment(augmentation, image, generator).numpy().tobytes() for _ in range(200)}
    assert versions is None or len(seen) == versions


def test_the_self_check_encodes_parts_and_defects_twice():
    slow = replace(SPEED, decode_s=0.5)
    fitted, scored = 9 * 1.5, (3 + 4 * 27) * (1 + 2 + 1)
    assert check_time(0)(slow, WORK, 1e6) == min(300, fitted + scored)
    quick = Speed(decode_s=0.005, encode_s=0.01, rebuild_s=0.02, step_s=0.05)
    assert check_time(0)(quick, WORK, 1.0) == pytest.approx((fitted + scored) / 100)
    assert check_time(0)(slow, WORK, 1.0) == 60  # its limit after a short training


def test_the_self_check_of_folds_is_of_all_images():
    quick = Speed(decode_s=0.0, encode_s=0.01, rebuild_s=0.02, step_s=0.05)
    work = Work(trained=8, held_out=0, watched=0)
    scored = 12 + 3 * 2 * 27  # two of the four rounds in each fold
    assert check_time(3)(quick, work, 1.0) == pytest.approx(3 * 8 * 0.01 + scored * 0.04)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "10 seconds"),
        (44, "40 seconds"),
        (95, "2 minutes"),
        (1500, "25 minutes"),
        (5500, "2 hours"),
        (100_000, "28 hours"),
        (500_000, "6 days"),
    ],
)
def test_durations_are_said_as_people_do(seconds, text):
    assert words(seconds) == text


def test_measuring_leaves_the_network_and_the_random_numbers_alone(trainer_of):
    trainer = trainer_of()
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    random = torch.get_rng_state()
    speed = measure(trainer)
    assert min(speed.decode_s, speed.encode_s, speed.rebuild_s, speed.step_s) > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[k], v) for k, v in trainer.network.state_dict().items())
    assert all(p.grad is None for p in trainer.network.parameters())


def test_hours_on_a_cpu_come_with_a_faster_recipe(trainer_of, monkeypatch):
    trainer = trainer_of()
    short = expect(trainer)
    assert short.startswith("about ") and "for 3 epochs on this CPU" in short
    assert "--recipe fast" not in short
    assert "for 3 epochs and the self-check on this CPU" in expect(trainer, check_time(0))
    trainer.config = replace(CONFIG, epochs=10_000_000)
    assert expect(trainer).endswith("; --recipe fast takes minutes on a CPU")


def test_it_is_printed_to_a_log_too():
    console = Console(file=io.StringIO(), record=True)
    Monitors(Lines(console)).expect("about 3 minutes")
    assert console.export_text() == "about 3 minutes\n"
