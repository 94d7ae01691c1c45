from dataclasses import dataclass, fields
from typing import Annotated, get_type_hints

import typer
from typer.main import get_command
from typer.testing import CliRunner

from model.cli import app
from model.cli.train import recipe as recipes
from model.option_groups import OptionGroup, grouped
from model.training.recipe.recipe import paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint(OptionGroup):
    colour: Annotated[str, typer.Option("--color")] = "red"
    coats: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(OptionGroup):
    part: Annotated[str, typer.Argument()]
    paint: Paint
    quick: Annotated[bool, typer.Option("--quick")] = False


def run(*words):
    taken = []
    alone = typer.Typer()

    @alone.command()
    @grouped
    def paint(ctx: typer.Context, line: int, order: Order) -> None:
        taken.append((ctx.get_parameter_source("coats").name, line, order))

    result = CliRunner().invoke(alone, words)
    return result, taken


def test_every_field_is_an_option_and_the_command_takes_them_whole():
    result, taken = run("7", "bolt", "--coats", "2", "--quick")
    assert result.exit_code == 0, result.output
    order = Order(part="bolt", paint=Paint(coats=2), quick=True)
    assert taken == [("COMMANDLINE", 7, order)]
    assert dict(order.flat()) == {"part": "bolt", "colour": "red", "coats": 2, "quick": True}


def test_defaults_and_types_are_those_of_the_fields():
    assert run("7", "bolt", "--color", "blue")[1][0][2].paint == Paint(colour="blue")
    assert run("7", "bolt", "--coats", "many")[0].exit_code == 2
    assert run("7")[0].exit_code == 2


PARTS = (
    recipes.FrameOptions,
    recipes.ScoringOptions,
    recipes.NetworkOptions,
    recipes.LearningOptions,
    recipes.AugmentationOptions,
)


def test_every_option_about_a_recipe_is_a_value_of_it():
    values = {path.rpartition(".")[2] for path in paths()}
    options = {field.name for part in PARTS for field in fields(part)}
    assert options - values == {"tile", "score_statistic"}
    assert recipes.READERS.keys() <= options
    hints = get_type_hints(recipes.RecipeOptions)
    assert {kind for kind in hints.values() if kind in PARTS} == set(PARTS)


def test_no_two_groups_of_train_have_an_option_of_one_name():
    names = [option.name for option in get_command(app).commands["train"].params]
    assert len(names) == len(set(names)) == 69
