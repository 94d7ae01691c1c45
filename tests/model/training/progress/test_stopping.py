"""A run's own recipe decides whether it is finished."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from model.checkpoints.checkpoint import CheckpointStore
from model.errors import CheckpointError
from model.training import Run, read_training_data, train
from model.training.progress.state import STATE_FILE, EpochRecord, Place, save_state
from model.training.progress.stopping import check_unfinished, is_finished
from tests.tiny import CONFIG, recipe, write_images


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("noise")
    write_images(root / "bolt" / "train" / "good", 8)
    write_images(root / "bolt" / "held_out" / "good", 3, seed=1)
    return read_training_data(root, ["bolt"], None, 0.2, 0)


def go(folder, images, config, stop=lambda: False, **options):
    run = Run(
        name="bolts", folder=folder / "run", store=CheckpointStore(folder / "w"),
        recipe=recipe(folder.parent, config), **options,
    )  # fmt: skip
    return train(run, images, stop=stop)


def content(folder):
    return {p.name: p.read_bytes() for p in (folder / "run").iterdir() if p.is_file()}


def history(losses):
    return [EpochRecord(n, 1.0, loss, 0.1, 1.0, 1.0) for n, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 1}, r"training\.epochs was 3, is 1"),
        ({"epochs": 12}, r"training\.epochs was 3, is 12"),
        ({"loss": "mse"}, r"training\.loss was 'cosine', is 'mse'"),
        ({"seed": 8}, r"training\.seed was 7, is 8"),
        ({"folds": 2}, r"training\.folds was 0, is 2"),
        ({}, "the same command with --resume"),
    ],
)
def test_an_unfinished_run_is_not_overwritten_by_another_recipe(images, tmp_path, changes, message):
    stops = iter([False, False, True])
    go(tmp_path, images, CONFIG, stop=lambda: next(stops))
    before = content(tmp_path)
    if "folds" in changes:
        images = replace(images, train=(*images.train, *images.held_out), held_out=())
    with pytest.raises(CheckpointError, match=message) as caught:
        go(tmp_path, images, replace(CONFIG, **changes))
    assert "unfinished run, 1 of 3 epochs done" in str(caught.value)
    assert "--restart" in str(caught.value)
    assert content(tmp_path) == before
    if changes:
        assert f"--recipe {tmp_path / 'run' / 'recipe.yaml'} --resume" in str(caught.value)


def test_a_finished_run_is_finished_whatever_is_asked_for_next(images, tmp_path):
    go(tmp_path, images, replace(CONFIG, epochs=1))
    assert go(tmp_path, images, replace(CONFIG, epochs=2)).version == "2"
    assert go(tmp_path, images, replace(CONFIG, epochs=1)).version == "3"


def test_a_restart_gives_up_a_run_of_another_recipe(images, tmp_path):
    go(tmp_path, images, CONFIG, stop=lambda: True)
    checkpoint = go(tmp_path, images, replace(CONFIG, epochs=1), restart=True)
    assert checkpoint.manifest.training["finished"]


def test_a_run_in_folds_is_in_the_way_of_one_without(images, tmp_path):
    every = replace(images, train=(*images.train, *images.held_out), held_out=())
    assert go(tmp_path, every, replace(CONFIG, epochs=1, folds=2), stop=lambda: True) is None
    with pytest.raises(CheckpointError, match="unfinished run in folds"):
        go(tmp_path, images, replace(CONFIG, epochs=1))
    go(tmp_path, images, replace(CONFIG, epochs=1), restart=True)
    assert not list((tmp_path / "run").glob("fold-*"))
    assert go(tmp_path, images, replace(CONFIG, epochs=1)).version == "2"


def test_a_record_that_does_not_say_how_far_it_was_to_go_counts_as_unfinished(tmp_path):
    save_state(tmp_path, {"training": {}}, Place(epoch=5), {"x": torch.ones(1)})
    with pytest.raises(CheckpointError, match="unfinished run, 5 of"):
        check_unfinished(tmp_path, "fold-*", {})


@pytest.mark.parametrize("record", ["[]", "{}", '{"place": {}}', '{"place": 3, "identity": 4}'])
def test_a_record_of_something_else_is_said(tmp_path, record):
    save_file({"x": torch.ones(1)}, tmp_path / STATE_FILE, {"record": record})
    with pytest.raises(CheckpointError, match="not the state of a run"):
        check_unfinished(tmp_path, "fold-*", {})


@settings(max_examples=60, deadline=None)
@given(
    stored=st.integers(1, 12), done=st.integers(0, 12), requested=st.integers(1, 12),
    step=st.integers(0, 1), patience=st.sampled_from([0, 0, 2]),
)  # fmt: skip
def test_what_is_asked_for_now_never_decides_whether_a_run_is_finished(
    tmp_path_factory, stored, done, requested, step, patience
):
    folder = tmp_path_factory.mktemp("run")
    config = replace(CONFIG, epochs=stored, patience=patience)
    place = Place(epoch=min(done, stored), step=step, history=history([1.0] * min(done, stored)))
    identity = json.loads(json.dumps({"training": config.to_dict()}))
    save_state(folder, identity, place, {"x": torch.ones(1)})
    other = {"training": replace(CONFIG, epochs=requested).to_dict()}
    if is_finished(config, place):
        check_unfinished(folder, "fold-*", other)
    else:
        with pytest.raises(CheckpointError, match=f"of {stored} epochs done"):
            check_unfinished(folder, "fold-*", other)
