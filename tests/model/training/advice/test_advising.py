"""`mambaad train` ends with a self-check, `mambaad advise` repeats it; neither changes a result."""

import json
import shutil

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from model.checkpoints.checkpoint import CheckpointStore
from model.cli import app
from model.cli.advising import TrainingEnd, advise_after_training, check_training
from model.training import read_training_data
from model.training.advice import Recommendation, recommend
from model.training.advice.folded import CHECK_FILE
from model.training.advice.sentences import MEMORY, NOT_REAL, next_steps
from tests.tiny import options, write_images

NEW = {"self_check", "recommendation"}
VARYING = {"seconds", "curve", "last_epoch", "image_list"}
"""Entries of the manifest with measured times."""


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    """Keep the tests short: a round has one defect of each kind and strength."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.training.advice.observing.ROUNDS", 2)
        patch.setattr("model.training.advice.folded.ROUNDS", 2)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("advised")
    write_images(root / "bolt" / "train" / "good", 8)
    write_images(root / "bolt" / "held_out" / "good", 6, seed=1)
    return root


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def train(root, folder, *more):
    places = ["--weights", folder / "weights", "--runs", folder / "runs"]
    recipe = ["--epochs", "1", "--batch-size", "4", "--alpha", "0.05"]
    return run("train", root, "--name", "bolt", *options(root), *recipe, *places, *more)


@pytest.fixture(scope="module")
def checked(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checked")
    return folder, train(root, folder)


def version(folder):
    return folder / "weights" / "bolt" / "1"


def manifest(folder):
    return json.loads((version(folder) / "manifest.json").read_text())


def test_a_training_ends_with_what_was_found_and_what_to_do(checked):
    folder, result = checked
    check = manifest(folder)["training"]["self_check"]["categories"]["bolt"]
    found = check["methods"]["MambaAD"]
    assert check["parts"] == 6
    assert set(check["methods"]) == {"MambaAD", "PaDiM", "PatchCore"}
    assert check["fitted_on"] == check["trained_on"] == 8
    assert f"The threshold finds {found['found']} of {found['drawn']}" in result.stdout
    assert "5 % with 19 held out (13 more" in result.stdout
    assert (
        "With --folds 5 (move the held-out ones to training), all 14 good images" in result.stdout
    )
    assert NOT_REAL in result.stdout
    assert "--no-self-check skips it" in result.stderr
    sentences = manifest(folder)["training"]["recommendation"]["categories"]["bolt"]["sentences"]
    assert [f"bolt: {sentence}" in result.stdout for sentence in sentences] == [True] * len(
        sentences
    )


def test_a_self_check_changes_nothing_else(root, checked, tmp_path):
    result = train(root, tmp_path, "--no-self-check")
    assert "drawn" not in result.stdout
    with_check, without = manifest(checked[0]), manifest(tmp_path)
    assert "self_check" not in without["training"]
    for name in without["sha256"]:
        place = "../../encoders" if name == without["encoder_file"] else "."
        files = [version(folder) / place / name for folder in (checked[0], tmp_path)]
        assert files[0].read_bytes() == files[1].read_bytes()
    for values in (with_check, without):
        del values["created"]
        for entry in NEW | VARYING:
            values["training"].pop(entry, None)
    assert with_check == without


def test_advise_repeats_the_check_exactly(root, checked, tmp_path):
    shutil.copytree(checked[0] / "weights", tmp_path / "weights")
    before = manifest(tmp_path)
    run("advise", "bolt", root, "--rounds", "2", "--weights", tmp_path / "weights")
    assert manifest(tmp_path) == before
    store = ["--weights", tmp_path / "weights"]
    other = run("advise", "bolt", root, "--rounds", "1", "--no-record", *store)
    assert "27 defects were drawn" in other.stdout
    assert manifest(tmp_path) == before
    images = root / "bolt" / "held_out" / "good"
    given = ["--images", images, "--category", "bolt", "--rounds", "1"]
    run("advise", "bolt", root, *given, *store)
    again = manifest(tmp_path)["training"]["self_check"]["categories"]["bolt"]
    assert again["methods"]["MambaAD"]["drawn"] == 27
    assert manifest(tmp_path)["calibrations"] == before["calibrations"]


def test_advise_refuses_other_images_than_those_of_the_training(root, checked, tmp_path):
    write_images(tmp_path / "bolt" / "train" / "good", 8)
    write_images(tmp_path / "bolt" / "held_out" / "good", 4, seed=1)
    refused = run("advise", "bolt", tmp_path, "--weights", checked[0] / "weights", code=2)
    assert "are not those of the training" in refused.stderr


def test_each_folds_network_is_checked_on_the_images_it_has_not_seen(root, tmp_path):
    few = tmp_path / "few"
    shutil.copytree(root / "bolt" / "train", few / "bolt" / "train")
    result = train(few, tmp_path, "--folds", "2")
    assert len(list((tmp_path / "runs" / "bolt").glob(f"fold-*/{CHECK_FILE}"))) == 2
    check = manifest(tmp_path)["training"]["self_check"]
    assert check["folds"] == 2
    bolt = check["categories"]["bolt"]
    assert (bolt["parts"], bolt["trained_on"]) == (8, 4)
    assert bolt["methods"]["MambaAD"]["threshold"] == pytest.approx(
        manifest(tmp_path)["calibrations"]["bolt"]["image_threshold"]
    )
    assert "good parts, for networks without them" in result.stdout
    (tmp_path / "plain").mkdir()
    train(few, tmp_path / "plain", "--folds", "2", "--no-self-check")
    assert manifest(tmp_path / "plain")["calibrations"] == manifest(tmp_path)["calibrations"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ended": "interrupted"}, "no self-check: the training was interrupted"),
        ({"recipe": {"folds": 3}}, "no self-check: no fold's network was checked"),
        ({}, "no self-check: no good images were held out"),
    ],
)
def test_a_check_that_is_not_possible_says_why(root, checked, capsys, tmp_path, changes, says):
    images = read_training_data(root, ["bolt"], None, 0.2, 0)
    checkpoint = CheckpointStore(checked[0] / "weights").load("bolt")
    checkpoint.manifest.training.update(changes)
    none_held_out = type(images)(images.train, ())
    end = TrainingEnd(
        store=CheckpointStore(tmp_path),
        checkpoint=checkpoint,
        images=none_held_out,
        folder=tmp_path,
        device="cpu",
    )
    assert check_training(end) is None
    assert capsys.readouterr().out.strip() == says


def test_a_check_that_fails_does_not_fail_the_training(root, checked, capsys, tmp_path):
    shutil.copytree(checked[0] / "weights", tmp_path / "weights")
    shutil.copytree(root, tmp_path / "data")
    store = CheckpointStore(tmp_path / "weights")
    images = read_training_data(tmp_path / "data", ["bolt"], None, 0.2, 0)
    (tmp_path / "data/bolt/held_out/good/000.png").write_bytes(b"no picture")
    end = TrainingEnd(
        store=store, checkpoint=store.load("bolt"), images=images, folder=tmp_path, device="cpu"
    )
    advise_after_training(end, check=True)
    assert "no self-check: " in capsys.readouterr().out
    assert "self_check" not in manifest(tmp_path)["training"]


def test_a_recommendation_without_a_check_deletes_an_earlier_one(root, checked, tmp_path):
    shutil.copytree(checked[0] / "weights", tmp_path / "weights")
    store = CheckpointStore(tmp_path / "weights")
    checkpoint = store.load("bolt")
    plain = recommend(checkpoint, (), None)
    assert isinstance(plain, Recommendation)
    store.update(checkpoint, training=plain.to_dict())
    assert "self_check" not in manifest(tmp_path)["training"]
    assert manifest(tmp_path)["training"]["image_list"]


def test_next_steps_name_existing_options_that_are_not_in_use():
    flags = {flag for o in get_command(app).commands["train"].params for flag in o.opts}
    for scoring in ({}, {"distance": "mahalanobis"}, {"memory": 500}):
        steps = next_steps({"recipe": {"epochs": 6}}, scoring, {}, 20)
        for step in steps:
            words = [word.strip("(),") for word in step.split() if word.strip("(").startswith("--")]
            assert set(words) <= flags, step
        assert any("--folds" in step for step in steps)
        assert any("mahalanobis" in step for step in steps) is ("distance" not in scoring)
    assert MEMORY not in next_steps({}, {"memory": 500}, {}, 20)
    tiled = next_steps({"recipe": {"folds": 3, "epochs": 100}}, {}, {"resize": "tile"}, 500)
    assert [step for step in tiled if "--" in step and step != MEMORY] == []
