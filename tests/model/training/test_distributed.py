"""Two gloo processes get the same result as one with the same batches."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from model.checkpoints.checkpoint import CheckpointStore
from model.errors import ConfigError
from model.training import Augmentation, Run, read_training_data, train
from model.training.parallel import group as groups
from model.training.parallel.group import Group, join
from model.training.recipe.disturbance import Disturbance
from model.training.recipe.emphasis import Emphasis
from model.training.run import build_network
from tests.tiny import CONFIG, TINY, Recorder, encoder_weights, recipe

ROOT = Path(__file__).parents[3]
CONFIG = replace(
    CONFIG,
    epochs=2,
    ema_decay=0.9,
    clip_norm=1.0,
    augmentation=Augmentation(hflip=True, brightness=0.1),
    disturbance=Disturbance(feature_noise=0.5, feature_noise_probability=0.5, fusion_dropout=0.2),
    emphasis=Emphasis(hard_mining=0.5, hard_mining_ramp=0.0),
)


def go(root, folder, group, monitor=None):
    data = read_training_data(Path(root), ["bolt"], None, 0.2, 0)
    store = CheckpointStore(Path(folder) / "w")
    tiny_recipe = recipe(Path(folder).parent, CONFIG)
    run = Run(
        name="bolts", folder=Path(folder) / "run", store=store, recipe=tiny_recipe, group=group
    )
    return train(run, data, monitor=monitor)


def second(root, folder):
    """Run as the second process, whose working directory stays empty."""
    groups.PATIENCE = timedelta(seconds=120)
    with join("cpu") as (group, _):
        assert (group.rank, group.size) == (1, 2)
        assert go(root, folder, group) is None
    print(json.dumps(sorted(p.name for p in Path(folder).iterdir())))


def environment(rank, port):
    """The variables that torchrun sets for each process."""
    return {
        "TORCHELASTIC_RUN_ID": "test", "RANK": str(rank), "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def test_two_processes_learn_what_one_does(root, tmp_path, monkeypatch):
    expected, heard = Recorder(), Recorder()
    alone = go(root, tmp_path / "alone", Group(), expected)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "second").mkdir()
    code = f"from {__name__} import second; import sys; second(*sys.argv[1:])"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(tmp_path / "second")],
        cwd=ROOT, env=os.environ | environment(1, port), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    monkeypatch.setattr(groups, "PATIENCE", timedelta(seconds=120))
    for name, value in environment(0, port).items():
        monkeypatch.setenv(name, value)
    with join("cpu") as (group, device):
        assert (group.rank, group.size, device) == (0, 2, "cpu")
        shared = go(root, tmp_path / "first", group, heard)
    left, _ = other.communicate(timeout=120)
    assert other.returncode == 0
    assert json.loads(left) == []

    assert shared.manifest.training["processes"] == 2
    # Before any learning the losses are equal, noise and dropped paths included; then rounding
    # grows from step to step, since AdamW follows the sign of gradients near 0.
    assert heard.losses[0] == pytest.approx(expected.losses[0], rel=1e-6)
    assert heard.losses == pytest.approx(expected.losses, rel=3e-3)
    start = build_network(TINY, encoder_weights(tmp_path), CONFIG.seed)[0].trained_state()
    first, second = (c.network.trained_state() for c in (alone, shared))
    assert distance(first, second) < 0.01 * distance(first, start)


def distance(first, second):
    differences = [(first[k].double() - second[k].double()).flatten() for k in first]
    return float(torch.cat(differences).norm())


def test_alone_nothing_is_shared():
    group, values = Group(), torch.arange(4.0)
    assert group.leads
    assert group.share([1, 2, 3]) == [1, 2, 3]
    assert group.gather(values) is values
    assert group.total(1.5, 2.0) == [1.5, 2.0]
    assert group.first("x") == "x"
    with join("cuda:3") as (joined, device):
        assert (joined.size, device) == (1, "cuda:3")


def test_each_process_draws_its_rows_of_the_whole_batch():
    batch, rows = torch.zeros(6, 2), []
    for rank in range(3):
        torch.manual_seed(0)
        rows.append(Group(rank, 3).draw(torch.randn, batch[:2]))
    torch.manual_seed(0)
    assert torch.equal(torch.cat(rows), Group().draw(torch.randn, batch))
    assert [Group(rank, 3).share(range(7)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5, 6]]


def test_batches_that_cannot_be_shared_are_refused(trainer_of):
    with pytest.raises(ConfigError, match="3 processes cannot share batches of 4"):
        trainer_of(group=Group(0, 3))


def test_several_processes_take_no_device_by_number(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    with pytest.raises(ConfigError, match="--device must be cpu or cuda"), join("cuda:1"):
        pass
