"""Recipes are complete, typed, overridable, and clear about errors."""

from pathlib import Path

import pytest

from model.errors import ConfigError
from model.training import TrainingConfig
from model.training.recipe.recipe import (
    Recipe,
    merge,
    paths,
    read_recipe,
    read_setting,
    recipe_names,
)

DOCUMENT = (Path(__file__).parents[4] / "docs" / "quality.md").read_text("utf-8")


@pytest.fixture
def file(tmp_path):
    def write(text, name="mine.yaml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def resolved(source):
    return Recipe.from_values(read_recipe(source))


def test_the_named_recipes_are_there_and_valid():
    names = ["fast", "paper", "paper-100", "paper-300", "paper-lite", "quality"]
    assert recipe_names() == names
    assert all(resolved(name).description for name in recipe_names())


def test_paper_is_the_published_recipe():
    paper = resolved("paper")
    network = paper.network
    assert (network.encoder, network.image_size) == ("resnet34", (256, 256))
    assert (network.scan, network.directions, network.depths) == ("hilbert", 8, (3, 4, 6, 3))
    assert paper.training == TrainingConfig()
    assert (paper.training.epochs, paper.training.batch_size) == (1000, 16)
    assert paper.scoring == type(paper.scoring)()
    for epochs in (100, 300):
        variant = dict(resolved(f"paper-{epochs}").flat())
        differing = {k for k, v in paper.flat() if variant[k] != v}
        assert differing == {"training.epochs", "description"}
        assert variant["training.epochs"] == epochs


@pytest.mark.parametrize("name", ["fast", "paper-300", "quality"])
def test_a_recipe_written_out_is_the_same_recipe(name, file):
    recipe = resolved(name)
    written = file(recipe.to_yaml())
    assert resolved(written) == recipe
    assert dict(recipe.flat()).keys() == set(paths())


def test_a_file_changes_what_it_says_of_its_base(file):
    mine = resolved(file("base: fast\ntraining: {epochs: 9, augmentation: {vflip: false}}\n"))
    fast = resolved("fast")
    differing = {k for k, v in mine.flat() if dict(fast.flat())[k] != v}
    assert differing == {"training.epochs", "training.augmentation.vflip"}


def test_a_base_may_lie_beside_the_file(file):
    file("base: fast\ntraining: {epochs: 9}\n", "below.yaml")
    mine = resolved(file("base: below.yaml\ntraining: {seed: 3}\n"))
    assert (mine.training.epochs, mine.training.seed, mine.training.loss) == (9, 3, "cosine")


def test_recipes_in_a_circle_are_refused(file):
    first = file("base: second.yaml\n", "first.yaml")
    file("base: first.yaml\n", "second.yaml")
    with pytest.raises(ConfigError, match="circle"):
        read_recipe(first)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trianing: {}", "unknown recipe key trianing; did you mean training?"),
        ("training: {epohcs: 3}", "unknown recipe key training.epohcs; did you mean epochs?"),
        ("training: {augmentation: {hflop: true}}", "did you mean hflip?"),
        ("epochs: 3", "unknown recipe key epochs; did you mean training.epochs?"),
        ("training: {sigma: 3}", "did you mean scoring.sigma?"),
        ("training: 3", "training must have keys and values"),
        ("- 3", "must have keys and values"),
        ("training: {epochs: [", "not YAML"),
        ("training: {epochs: many}", "training.epochs: Input should be a valid integer"),
        ("training: {epochs: 2.5}", "training.epochs"),
        ("training: {augmentation: {hflip: 7}}", "training.augmentation.hflip"),
        ("network: {depths: [2, 2]}", "network.depths: expected 4 values, got"),
        ("training: {loss: l1}", "loss must be one of"),
        ("training: {emphasis: {hard_mining: 2}}", "hard_mining must be in"),
        ("network: {image_size: 100}", "multiple of 32"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(file, text, message):
    with pytest.raises(ConfigError) as raised:
        resolved(file(text))
    assert message in str(raised.value)


def test_a_recipe_that_is_not_there_is_said():
    with pytest.raises(ConfigError, match=r"from 'fats': expected fast, .*; did you mean fast\?"):
        read_recipe("fats")


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("epochs=3", "training.epochs", 3),
        ("training.learning_rate=1e-3", "training.learning_rate", 0.001),
        ("learning_rate=null", "training.learning_rate", None),
        ("hflip=true", "training.augmentation.hflip", True),
        ("augmentation.shift=0.1", "training.augmentation.shift", 0.1),
        ("depths=2,2,2,2", "network.depths", [2, 2, 2, 2]),
        ("depths=[2, 2, 2, 2]", "network.depths", [2, 2, 2, 2]),
        ("scale_weights=0,1,2.5", "scoring.scale_weights", [0, 1, 2.5]),
        ("image_size=64", "network.image_size", [64, 64]),
        ("image_size=64x64", "network.image_size", [64, 64]),
        ("scoring.standardise=yes", "scoring.standardise", True),
        ("encoder_weights=hub", "encoder_weights", "hub"),
    ],
)
def test_every_value_can_be_set(text, path, value):
    recipe = Recipe.from_values(merge(read_recipe("paper-100"), read_setting(text)))
    assert dict(recipe.flat())[path] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "key=value"),
        ("epohcs=3", "did you mean epochs?"),
        ("scoring.epochs=3", "unknown recipe key 'scoring.epochs'"),
        ("epochs=[", "not YAML"),
    ],
)
def test_a_setting_that_is_none_is_said(text, message):
    with pytest.raises(ConfigError) as raised:
        read_setting(text)
    assert message in str(raised.value)


def test_no_two_keys_share_a_name():
    """So `--set` needs only the name."""
    leaves = [path.rpartition(".")[2] for path in paths()]
    assert len(leaves) == len(set(leaves))


def test_the_documentation_names_every_key():
    unnamed = [path for path in paths() if f"`{path.rpartition('.')[2]}`" not in DOCUMENT]
    assert not unnamed
