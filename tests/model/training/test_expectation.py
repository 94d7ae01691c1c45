"""A training says before its first step how long it will take, and that changes nothing."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from model.training import TrainingConfig
from model.training.expectation import Speed, expect, expected_s, measure, words
from model.training.progress.monitor import Lines, Monitors
from tests.tiny import CONFIG

SPEED = Speed(decode_s=0.0, inspect_s=1.0, step_s=3.0)


def test_a_run_is_its_steps_its_watching_and_one_pass_at_the_end():
    config = TrainingConfig(epochs=2, batch_size=4)
    assert expected_s(config, SPEED, trained=9, held_out=3, watched=3) == 2 * (8 * 3 + 3) + 12


def test_images_are_read_to_check_them_and_to_learn_from_them():
    config = TrainingConfig(epochs=1, batch_size=4)
    slow = replace(SPEED, decode_s=10.0)
    more = expected_s(config, slow, 8, 2, 0) - expected_s(config, SPEED, 8, 2, 0)
    assert more == 2 * 10 * 10


def test_folds_take_as_long_as_all_their_networks():
    config = TrainingConfig(epochs=3, batch_size=1, folds=5)
    per_fold = expected_s(replace(config, folds=0), SPEED, 80, 0, 0)
    on_all = expected_s(replace(config, folds=0), SPEED, 100, 0, 0)
    assert expected_s(config, SPEED, 80, 0, 0) == pytest.approx(5 * per_fold + on_all)


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
    assert min(speed.decode_s, speed.inspect_s, speed.step_s) > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[k], v) for k, v in trainer.network.state_dict().items())
    assert all(p.grad is None for p in trainer.network.parameters())


def test_hours_on_a_cpu_come_with_a_faster_recipe(trainer_of, monkeypatch):
    trainer = trainer_of()
    short = expect(trainer)
    assert short.startswith("about ") and "for 3 epochs on this CPU" in short
    assert "--recipe fast" not in short
    trainer.config = replace(CONFIG, epochs=10_000_000)
    assert expect(trainer).endswith("; --recipe fast takes minutes on a CPU")


def test_it_is_printed_to_a_log_too():
    console = Console(file=io.StringIO(), record=True)
    Monitors(Lines(console)).expect("about 3 minutes")
    assert console.export_text() == "about 3 minutes\n"
