"""Builds a run's recipe from a file, the options and --set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli.options import CALIBRATION, Preset
from model.cli.train.images import GreyBits, Resize, Tile, TileOverlap, TileScale
from model.cli.train.values import read_depths, read_size, read_weights
from model.option_groups import OptionGroup

if TYPE_CHECKING:
    from model.training.recipe.recipe import Recipe

_NETWORK, _RECIPE, _AUGMENT, _SCORE = (
    "The network",
    "The recipe",
    "Augmentation (only changes after which a good part is still good)",
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
    """How maps are scored and calibrated."""

    held_out_fraction: Annotated[
        float, typer.Option(help="The share of train/good held out.", rich_help_panel=_SCORE)
    ] = 0.2
    folds: Annotated[
        int,
        typer.Option(help="Hold none out; train this many extra networks.", rich_help_panel=_SCORE),
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
            help="Weights of the scales in the map, fine to coarse; 0 skips a scale.",
            rich_help_panel=_SCORE,
        ),
    ] = "1,1,1"
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise",
            help="Scale each pixel by the training parts' values there; for aligned parts.",
            rich_help_panel=_SCORE,
        ),
    ] = False
    memory: Annotated[
        int,
        typer.Option(
            help="Patches of good parts to remember for each category, up to 2000; 0: none.",
            rich_help_panel=_SCORE,
        ),
    ] = 0
    memory_weight: Annotated[
        float,
        typer.Option(
            help="The weight of the memory's map beside the decoder's.", rich_help_panel=_SCORE
        ),
    ] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions(OptionGroup):
    """The network's size and encoder."""

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
        str, typer.Option(help="Input size in pixels: N or HEIGHTxWIDTH.", rich_help_panel=_NETWORK)
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
    state_size: Annotated[
        int, typer.Option(help="States per channel.", rich_help_panel=_NETWORK)
    ] = 16
    drop_path: Annotated[
        float, typer.Option(help="Stochastic depth.", rich_help_panel=_NETWORK)
    ] = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningOptions(OptionGroup):
    """The optimisation."""

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
        typer.Option(help="When step drops to a tenth, 0 to 1.", rich_help_panel=_RECIPE),
    ] = 0.8
    warmup_epochs: Annotated[
        int, typer.Option(help="Epochs of linear warm-up.", rich_help_panel=_RECIPE)
    ] = 0
    clip_norm: Annotated[
        float, typer.Option(help="Clip the gradient's norm; 0: off.", rich_help_panel=_RECIPE)
    ] = 0.0
    ema_decay: Annotated[
        float, typer.Option(help="Average the weights; 0: off.", rich_help_panel=_RECIPE)
    ] = 0.0
    precision: Annotated[
        str, typer.Option(help="float32 or bfloat16 (mixed).", rich_help_panel=_RECIPE)
    ] = "float32"
    patience: Annotated[
        int,
        typer.Option(
            help="Stop after this many epochs without a lower loss on held-out good images, and "
            "keep the best weights; 0: never.",
            rich_help_panel=_RECIPE,
        ),
    ] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationOptions(OptionGroup):
    """Random changes after which a good part is still good."""

    hflip: Annotated[
        bool, typer.Option("--hflip", help="Mirror left-right.", rich_help_panel=_AUGMENT)
    ] = False
    vflip: Annotated[
        bool, typer.Option("--vflip", help="Mirror top-bottom.", rich_help_panel=_AUGMENT)
    ] = False
    rot90: Annotated[
        bool,
        typer.Option(
            "--rot90", help="Rotate by multiples of 90 degrees.", rich_help_panel=_AUGMENT
        ),
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
    """A base recipe and its changes."""

    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="paper, paper-100, paper-300, fast, quality or a YAML file. Options override "
            "it; the defaults below apply only without a recipe.",
            show_default=False,
        ),
    ] = None
    preset: Preset = None
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any value of a recipe; repeatable."),
    ] = None
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print every value and exit.")
    ] = False
    frame: FrameOptions
    scoring: ScoringOptions
    network: NetworkOptions
    learning: LearningOptions
    augmentation: AugmentationOptions
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0

    def read(self, ctx: typer.Context) -> "Recipe":
        """Merge the recipe, the preset, the given options and --set; later ones override.

        Without a recipe, the options' defaults are the base.
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
