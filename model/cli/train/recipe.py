"""The recipe of a run, from a file, the options and --set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli.options import CALIBRATION, Preset
from model.cli.train.images import GreyBits, Resize, Tile, TileOverlap, TileScale
from model.cli.train.option_groups import OptionGroup
from model.cli.train.values import read_depths, read_size, read_weights

if TYPE_CHECKING:
    from model.training.recipe.recipe import Recipe

_NETWORK, _RECIPE, _AUGMENT, _SCORE = (
    "The network",
    "The recipe",
    "Augmentation (what leaves a good part a good part)",
    CALIBRATION,
)

READERS: dict[str, Callable[[str], object]] = {
    "image_size": read_size,
    "depths": read_depths,
    "scale_weights": read_weights,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameOptions(OptionGroup):
    """How images become the network's inputs."""

    resize: Resize = "stretch"
    tile: Tile = False
    tile_overlap: TileOverlap = 0.25
    tile_scale: TileScale = 1.0
    grey_bits: GreyBits = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringOptions(OptionGroup):
    """How maps are scored, and what is promised."""

    held_out_fraction: Annotated[
        float, typer.Option(help="The share of train/good held out.", rich_help_panel=_SCORE)
    ] = 0.2
    folds: Annotated[
        int,
        typer.Option(help="Hold none out, train so many more networks.", rich_help_panel=_SCORE),
    ] = 0
    alpha: Annotated[
        float,
        typer.Option(help="The false-reject rate to calibrate for.", rich_help_panel=_SCORE),
    ] = 0.01
    score_statistic: Annotated[
        str,
        typer.Option(help="Image score from the map: max or top_mean.", rich_help_panel=_SCORE),
    ] = "max"
    top_fraction: Annotated[
        float, typer.Option(help="The share of pixels in top_mean.", rich_help_panel=_SCORE)
    ] = 0.01
    sigma: Annotated[
        float, typer.Option(help="The map's Gaussian blur, in pixels.", rich_help_panel=_SCORE)
    ] = 4.0
    scale_weights: Annotated[
        str,
        typer.Option(
            help="The scales' shares in the map, fine to coarse; 0: unused, and not computed.",
            rich_help_panel=_SCORE,
        ),
    ] = "1,1,1"
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise",
            help="Measure each pixel from what training parts show there: for aligned parts.",
            rich_help_panel=_SCORE,
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions(OptionGroup):
    """What is trained."""

    encoder: Annotated[
        str,
        typer.Option(
            help="A timm model; the paper's is resnet34 (with --encoder-weights hub or a file).",
            rich_help_panel=_NETWORK,
        ),
    ] = "tf_efficientnet_lite0"
    encoder_weights: Annotated[
        str,
        typer.Option(
            help="ImageNet weights: package (tf_efficientnet_lite0), hub, or a file.",
            rich_help_panel=_NETWORK,
        ),
    ] = "package"
    image_size: Annotated[
        str, typer.Option(help="Pixels, N or HEIGHTxWIDTH.", rich_help_panel=_NETWORK)
    ] = "256"
    scan: Annotated[
        str,
        typer.Option(help="sweep, scan, zorder, zigzag or hilbert.", rich_help_panel=_NETWORK),
    ] = "hilbert"
    directions: Annotated[int, typer.Option(help="2, 4 or 8.", rich_help_panel=_NETWORK)] = 8
    depths: Annotated[
        str,
        typer.Option(help="Blocks in each stage, coarse to fine.", rich_help_panel=_NETWORK),
    ] = "3,4,6,3"
    state_size: Annotated[int, typer.Option(help="States a channel.", rich_help_panel=_NETWORK)] = (
        16
    )
    drop_path: Annotated[
        float, typer.Option(help="Stochastic depth.", rich_help_panel=_NETWORK)
    ] = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningOptions(OptionGroup):
    """How it learns."""

    epochs: Annotated[
        int, typer.Option(help="The paper trains for 1000.", rich_help_panel=_RECIPE)
    ] = 100
    batch_size: Annotated[int, typer.Option(rich_help_panel=_RECIPE)] = 16
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="By default 0.005 x batch size / 16.", show_default=False, rich_help_panel=_RECIPE
        ),
    ] = None
    weight_decay: Annotated[float, typer.Option(rich_help_panel=_RECIPE)] = 1e-4
    loss: Annotated[
        str,
        typer.Option(help="mse (the paper's), cosine or global_cosine.", rich_help_panel=_RECIPE),
    ] = "mse"
    schedule: Annotated[
        str, typer.Option(help="step (the paper's), cosine or onecycle.", rich_help_panel=_RECIPE)
    ] = "step"
    decay_at: Annotated[
        float,
        typer.Option(help="Where step falls to a tenth, 0 to 1.", rich_help_panel=_RECIPE),
    ] = 0.8
    warmup_epochs: Annotated[
        int, typer.Option(help="Climb to the learning rate.", rich_help_panel=_RECIPE)
    ] = 0
    clip_norm: Annotated[
        float, typer.Option(help="Clip the gradient's norm; 0: no.", rich_help_panel=_RECIPE)
    ] = 0.0
    ema_decay: Annotated[
        float, typer.Option(help="Average the weights; 0: no.", rich_help_panel=_RECIPE)
    ] = 0.0
    precision: Annotated[
        str, typer.Option(help="float32 or bfloat16 (mixed).", rich_help_panel=_RECIPE)
    ] = "float32"
    patience: Annotated[
        int,
        typer.Option(
            help="Stop after so many epochs without a lower loss on held-out good images, and keep "
            "the best weights; 0: never.",
            rich_help_panel=_RECIPE,
        ),
    ] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationOptions(OptionGroup):
    """What leaves a good part a good part."""

    hflip: Annotated[
        bool, typer.Option("--hflip", help="Mirror left-right.", rich_help_panel=_AUGMENT)
    ] = False
    vflip: Annotated[
        bool, typer.Option("--vflip", help="Mirror top-bottom.", rich_help_panel=_AUGMENT)
    ] = False
    rot90: Annotated[
        bool, typer.Option("--rot90", help="Turn by 90 degrees.", rich_help_panel=_AUGMENT)
    ] = False
    shift: Annotated[
        float,
        typer.Option(help="Move by up to this share of a side.", rich_help_panel=_AUGMENT),
    ] = 0.0
    brightness: Annotated[
        float,
        typer.Option(help="Lighter or darker by up to this share.", rich_help_panel=_AUGMENT),
    ] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions(OptionGroup):
    """A recipe as it is asked for: one to begin with, and what is to be different."""

    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="paper, paper-100, paper-300, fast, quality or a YAML file; options that are "
            "given have the last word, the defaults below count without a recipe only.",
            show_default=False,
        ),
    ] = None
    preset: Preset = None
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any value of a recipe; repeatable."),
    ] = None
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print every value, and train nothing.")
    ] = False
    frame: FrameOptions
    scoring: ScoringOptions
    network: NetworkOptions
    learning: LearningOptions
    augmentation: AugmentationOptions
    seed: Annotated[int, typer.Option(help="Fixes everything random.")] = 0

    def read(self, ctx: typer.Context) -> "Recipe":
        """Return what the recipe says, then the preset, given options and --set.

        The last word counts. Without a recipe the options' defaults stand in its place.
        """
        from model.training.recipe.recipe import (
            Recipe,
            merge,
            read_preset,
            read_recipe,
            read_setting,
        )

        values = read_recipe(self.recipe) if self.recipe else self._values(ctx, given=False)
        if self.preset is not None:
            values = merge(values, read_preset(self.preset))
        values = merge(values, self._values(ctx, given=True))
        for text in [*(self.setting or []), *(["resize=tile"] if self.frame.tile else [])]:
            values = merge(values, read_setting(text))
        return Recipe.from_values(values)

    def _values(self, ctx: typer.Context, *, given: bool) -> dict[str, Any]:
        """Return the values of the options that were given, or of those that were not."""
        from model.training.recipe.recipe import merge, nest, paths

        places = {path.rpartition(".")[2]: path for path in paths()}
        places["score_statistic"] = places.pop("statistic")
        values: dict[str, Any] = {}
        for name, value in self.flat():
            source = ctx.get_parameter_source(name)
            if name in places and given is (source is not None and source.name == "COMMANDLINE"):
                read = READERS.get(name)
                values = merge(values, nest(places[name], read(value) if read else value))
        return values
