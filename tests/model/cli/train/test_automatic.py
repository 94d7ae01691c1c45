"""`mambaad train` without a recipe: chosen for the images, said, stored, and overridden."""

import re

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from model.checkpoints.checkpoint import CheckpointStore
from model.cli import app
from model.training import Recipe
from model.training.choice.rules import FOLDS, LEAST_STEPS
from tests import tiny

FIXED = np.random.default_rng(5).integers(0, 256, (8, 24), np.uint8)


def write(folder, count, common=0.0, mode="RGB"):
    """Wide images of noise in blocks, with a share of a part that lies the same way in all."""
    folder.mkdir(parents=True)
    for number in range(count):
        blocks = np.random.default_rng(number).integers(0, 256, FIXED.shape)
        mixed = (common * FIXED + (1 - common) * blocks).astype(np.uint8)
        picture = Image.fromarray(mixed).resize((192, 64), Image.Resampling.BICUBIC)
        picture.convert(mode).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def options(tmp_path):
    """A tiny network; everything else is chosen."""
    _, _, size, pixels, *network = tiny.options(tmp_path)
    assert (size, pixels) == ("--image-size", "64")
    return [*network, "--weights", tmp_path / "weights", "--runs", tmp_path / "runs"]


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def printed(*words):
    text = run("train", *words, "--name", "x", "--print-recipe").stdout
    comments = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    return comments, Recipe.from_values(yaml.safe_load(text))


def test_a_chosen_recipe_trains_says_why_and_stores_it(tmp_path, options):
    write(tmp_path / "bolt" / "train" / "good", 6, common=0.6)
    command = ["train", tmp_path, "--name", "bolt", *options, "--epochs", "2"]
    result = run(*command)
    learned = CheckpointStore(tmp_path / "weights").load("bolt").manifest
    choice = learned.training["choice"]
    assert choice["base"] == "fast"
    said = " ".join(result.stderr.split())
    assert choice["reasons"]
    for reason in choice["reasons"]:
        assert reason in said
    assert "images are wide: the input is 160 x " in said
    assert choice["alignment"]["bolt"]["aligned"]
    assert learned.scoring["distance"] == "mahalanobis"
    assert learned.training["recipe"]["epochs"] == 2
    assert "epochs instead of" not in said
    assert learned.training["recipe"]["folds"] == FOLDS
    assert "an estimate, not a promise" in result.stdout


def test_a_texture_gets_another_recipe_and_grey_images_work(tmp_path, options):
    write(tmp_path / "cloth" / "train" / "good", 30, mode="L")
    comments, recipe = printed(tmp_path, *options)
    assert any("do not lie the same way" in comment for comment in comments)
    assert recipe.scoring.distance == "cosine"
    assert recipe.training.folds == 0
    assert recipe.training.epochs == LEAST_STEPS["fast"] // 3
    assert recipe.network.image_size[1] > recipe.network.image_size[0]
    again, same = printed(tmp_path, *options, "--recipe", "auto")
    assert (again, same) == (comments, recipe)
    fixed = ["--image-size", "64", "--set", "distance=mahalanobis", "--folds", "3", "--seed", "4"]
    comments, recipe = printed(tmp_path, *options, *fixed)
    assert recipe.scoring.distance == "mahalanobis"
    assert recipe.network.image_size == (64, 64)
    assert (recipe.training.folds, recipe.training.seed) == (3, 4)
    assert any(comment.startswith("warning: parts of cloth do not lie") for comment in comments)


def test_the_least_aligned_category_decides_and_few_images_are_unknown(tmp_path, options):
    write(tmp_path / "bolt" / "train" / "good", 6, common=0.6)
    write(tmp_path / "cloth" / "train" / "good", 6)
    comments, recipe = printed(tmp_path, *options)
    assert recipe.scoring.distance == "cosine"
    assert any("parts of cloth do not lie the same way" in c for c in comments), comments
    comments, recipe = printed(tmp_path, *options, "--category", "bolt")
    assert recipe.scoring.distance == "mahalanobis"
    write(tmp_path / "nut" / "train" / "good", 3, common=0.6)
    comments, recipe = printed(tmp_path, *options, "--category", "nut")
    assert any("nut has too few different images" in comment for comment in comments)
    assert recipe.scoring.distance == "cosine"


def test_equal_and_single_images_are_refused_as_ever(tmp_path, options):
    for name, count, message in (
        ("one", 1, "has a single good image"),
        ("same", 4, "all 4 good images of 'same' look the same"),
    ):
        folder = write(tmp_path / name / "train" / "good", count, common=1.0)
        error = run("train", folder.parents[1], "--name", name, *options, code=2).stderr
        assert message in " ".join(error.split())


def test_a_named_recipe_is_kept_with_a_warning_of_what_cannot_work(tmp_path, options):
    write(tmp_path / "cloth" / "train" / "good", 6)
    small = [*options, "--recipe", "fast", "--image-size", "64", "--epochs", "1"]
    result = run("train", tmp_path, "--name", "cloth", *small)
    warning = "warning: parts of cloth do not lie the same way"
    assert warning in " ".join(result.stderr.split())
    learned = CheckpointStore(tmp_path / "weights").load("cloth").manifest
    assert learned.scoring["distance"] == "mahalanobis"
    assert learned.training["choice"]["reasons"] == []


def test_tiles_work_with_a_recipe_that_compares_places(tmp_path, options):
    write(tmp_path / "cloth" / "train" / "good", 6)
    small = [*options, "--recipe", "fast", "--image-size", "64", "--epochs", "1", "--tile"]
    small += ["--set", "memory=50"]
    result = run("train", tmp_path, "--name", "cloth", *small)
    reason = "tiles have no place of their own on the part"
    assert reason in " ".join(result.stderr.split())
    learned = CheckpointStore(tmp_path / "weights").load("cloth").manifest
    assert reason in learned.training["choice"]["reasons"][0]
    assert (learned.preprocessing["resize"], learned.scoring["distance"]) == ("tile", "cosine")
    assert (learned.scoring["memory"], learned.scoring["memory_weight"]) == (50, 2)
    image = tmp_path / "cloth" / "train" / "good" / "00.png"
    shown = run("predict", "cloth", image, "--weights", tmp_path / "weights").stdout
    assert re.search(r"^(OK|NG) ", shown, re.MULTILINE), shown


def test_a_file_that_states_the_distance_is_not_changed_for_tiles(tmp_path, options):
    write(tmp_path / "cloth" / "train" / "good", 6)
    file = tmp_path / "mine.yaml"
    file.write_text("base: fast\nscoring: {distance: mahalanobis}\nimages: {resize: tile}\n")
    words = ["train", tmp_path, "--name", "x", *options, "--recipe", file, "--print-recipe"]
    assert "--set distance=cosine" in run(*words, code=2).stderr.replace("\n", " ")
    file.write_text("base: fast\nimages: {resize: tile}\nscoring: {memory_weight: 0.5}\n")
    comments, recipe = printed(tmp_path, *options, "--recipe", file)
    assert any("distance is cosine instead" in comment for comment in comments)
    assert (recipe.scoring.distance, recipe.scoring.memory_weight) == ("cosine", 0.5)
