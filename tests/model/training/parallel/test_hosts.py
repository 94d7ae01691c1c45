"""A training on two hosts: its result, and the loss of a host by power or by cable."""

import time

import pytest
import torch
from typer.testing import CliRunner

from model.checkpoints.checkpoint import CheckpointStore
from model.cli import app
from model.training.parallel.contact import GRACE_S, LOST_AFTER_S
from model.training.run import build_network
from tests.model.training.parallel.hosts import two_hosts
from tests.tiny import TINY, encoder_weights, options

pytestmark = pytest.mark.slow

EPOCHS, SEED = 5, 7
SLACK_S = 120.0
"""For torchrun to start or end its processes, on a machine that does other things too."""


def arguments(root, folder, *more):
    return [
        str(root), "--name", "bolts", *options(folder), "--batch-size", "4", "--loss", "cosine",
        "--learning-rate", "1e-3", "--seed", str(SEED), "--save-every-minutes", "0", *more,
    ]  # fmt: skip


def read_until(process, text):
    """Return the output up to the end of the line that has this text."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"no {text!r} in:\n{''.join(lines)}")


def trained_state(folder):
    version = CheckpointStore(folder / "weights").load("bolts")
    return version.network.trained_state(), version.manifest.training


def distance(first, second):
    differences = [(first[k].double() - second[k].double()).flatten() for k in first]
    return float(torch.cat(differences).norm())


def test_a_run_resumed_after_a_host_lost_its_power_learns_what_one_process_does(
    root, tmp_path, monkeypatch
):
    command = arguments(root, tmp_path, "--epochs", str(EPOCHS))
    with two_hosts(tmp_path) as (first, second):
        leader, other = first.train(*command), second.train(*command)
        read_until(leader, "epoch 1/")
        second.host.lose_power()
        assert (
            "mambaad: process 1 on 10.77.0.2 has ended: start the command again with --resume on "
            "every host\n"
        ) in read_until(leader, "process 1 on")
        leader.communicate(timeout=SLACK_S)
        assert leader.returncode != 0
        other.communicate()
        assert list(second.folder.iterdir()) == []  # the run's state is on the first host alone

        both = [host.train(*command, "--resume") for host in (first, second)]
        outputs = [process.communicate(timeout=2 * SLACK_S)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        assert list(second.folder.iterdir()) == []

    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["train", *command]).exit_code == 0
    (alone, _), (shared, training) = trained_state(tmp_path), trained_state(first.folder)
    assert (training["processes"], training["epochs_done"]) == (2, EPOCHS)
    start = build_network(TINY, encoder_weights(tmp_path), SEED)[0].trained_state()
    # As in test_distributed: rounding grows from step to step, here to 2.3 % after ten.
    assert distance(alone, shared) < 0.05 * distance(alone, start)


def test_without_a_cable_both_hosts_end_within_the_stated_time(root, tmp_path):
    command = arguments(root, tmp_path, "--epochs", "100000")
    with two_hosts(tmp_path) as (first, second):
        both = [first.train(*command), second.train(*command)]
        read_until(both[0], "epoch 1/")
        second.host.pull_the_cable()
        cut = time.monotonic()
        for process, peer in zip(both, ("1 on 10.77.0.2", "0 on 10.77.0.1"), strict=True):
            assert "cannot be reached" in read_until(process, f"mambaad: process {peer}")
        assert time.monotonic() - cut < LOST_AFTER_S + GRACE_S + SLACK_S
        for process in both:
            process.communicate(timeout=SLACK_S)
            assert process.returncode != 0
