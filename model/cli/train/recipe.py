"""Builds a run's recipe from a file, the options and --set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import CALIBRATION, Preset
from model.cli.train.images import GreyBits, Resize, Tile, TileOverlap, TileScale
from model.cli.train.values import check_places, read_depths, read_size, read_weights
from model.option_groups import OptionGroup

if TYPE_CHECKING:
    from model.training.recipe.recipe import Recipe, Values

_NETWORK, _RECIPE, _AUGMENT, _SCORE = (
    "The network",
    "The recipe",
    "Augmentation (only changes after which a good part is still good)",
    CALIBRATION,
)

AUTOMATIC = "auto"

READERS: dict[str, Callable[[str], object]] = {
    "image_size": read_size,
    "depths": read_depths,
    "scale_weights": read_weights,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameOptions(OptionGroup):
    """How images become the network's inputs."""

    resize: Resize = None
    tile: Tile = False
    tile_overlap: TileOverlap = None
    tile_scale: TileScale = None
    grey_bits: GreyBits = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringOptions(OptionGroup):
    """How maps are scored and calibrated."""

    held_out_fraction: Annotated[
        float | None, typer.Option(help="The share of train/good held out.", rich_help_panel=_SCORE)
    ] = None
    folds: Annotated[
        int | None,
        typer.Option(help="Hold none out; train this many extra networks.", rich_help_panel=_SCORE),
    ] = None
    alpha: Annotated[
        float | None,
        typer.Option(help="The false-reject rate to calibrate for.", rich_help_panel=_SCORE),
    ] = None
    score_statistic: Annotated[
        str | None,
        typer.Option(help="Image score from the map: max or top_mean.", rich_help_panel=_SCORE),
    ] = None
    top_fraction: Annotated[
        float | None, typer.Option(help="The share of pixels in top_mean.", rich_help_panel=_SCORE)
    ] = None
    sigma: Annotated[
        float | None,
        typer.Option(help="The map's Gaussian blur, in pixels.", rich_help_panel=_SCORE),
    ] = None
    scale_weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of the scales in the map, fine to coarse; 0 skips a scale.",
            rich_help_panel=_SCORE,
        ),
    ] = None
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
        str | None,
        typer.Option(
            help="A timm model; the paper's is resnet34 (with --encoder-weights hub or a file).",
            rich_help_panel=_NETWORK,
        ),
    ] = None
    encoder_weights: Annotated[
        str | None,
        typer.Option(
            help="ImageNet weights: package (tf_efficientnet_lite0), hub, or a file.",
            rich_help_panel=_NETWORK,
        ),
    ] = None
    image_size: Annotated[
        str | None,
        typer.Option(help="Input size in pixels: N or HEIGHTxWIDTH.", rich_help_panel=_NETWORK),
    ] = None
    scan: Annotated[
        str | None,
        typer.Option(help="sweep, scan, zorder, zigzag or hilbert.", rich_help_panel=_NETWORK),
    ] = None
    directions: Annotated[int | None, typer.Option(help="2, 4 or 8.", rich_help_panel=_NETWORK)] = (
        None
    )
    depths: Annotated[
        str | None,
        typer.Option(help="Blocks in each stage, coarse to fine.", rich_help_panel=_NETWORK),
    ] = None
    state_size: Annotated[
        int | None, typer.Option(help="States per channel.", rich_help_panel=_NETWORK)
    ] = None
    drop_path: Annotated[
        float | None, typer.Option(help="Stochastic depth.", rich_help_panel=_NETWORK)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningOptions(OptionGroup):
    """The optimisation."""

    epochs: Annotated[
        int | None, typer.Option(help="The paper trains for 1000.", rich_help_panel=_RECIPE)
    ] = None
    batch_size: Annotated[int | None, typer.Option(rich_help_panel=_RECIPE)] = None
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="By default 0.005 x batch size / 16.", show_default=False, rich_help_panel=_RECIPE
        ),
    ] = None
    weight_decay: Annotated[float | None, typer.Option(rich_help_panel=_RECIPE)] = None
    loss: Annotated[
        str | None,
        typer.Option(help="mse (the paper's), cosine or global_cosine.", rich_help_panel=_RECIPE),
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(help="step (the paper's), cosine or onecycle.", rich_help_panel=_RECIPE),
    ] = None
    decay_at: Annotated[
        float | None,
        typer.Option(help="When step drops to a tenth, 0 to 1.", rich_help_panel=_RECIPE),
    ] = None
    warmup_epochs: Annotated[
        int | None, typer.Option(help="Epochs of linear warm-up.", rich_help_panel=_RECIPE)
    ] = None
    clip_norm: Annotated[
        float | None,
        typer.Option(help="Clip the gradient's norm; 0: off.", rich_help_panel=_RECIPE),
    ] = None
    ema_decay: Annotated[
        float | None, typer.Option(help="Average the weights; 0: off.", rich_help_panel=_RECIPE)
    ] = None
    precision: Annotated[
        str | None, typer.Option(help="float32 or bfloat16 (mixed).", rich_help_panel=_RECIPE)
    ] = None
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after this many epochs without a lower loss on held-out good images, and "
            "keep the best weights; 0: never.",
            rich_help_panel=_RECIPE,
        ),
    ] = None


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
        float | None,
        typer.Option(help="Move by up to this share of a side.", rich_help_panel=_AUGMENT),
    ] = None
    brightness: Annotated[
        float | None,
        typer.Option(help="Lighter or darker by up to this share.", rich_help_panel=_AUGMENT),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions(OptionGroup):
    """A base recipe and its changes."""

    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="auto (chosen for the images; the default), fast, quality, paper, paper-lite, "
            "paper-100, paper-300 or a YAML file. Options override it.",
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
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None

    @property
    def is_automatic(self) -> bool:
        """Whether the images choose the recipe."""
        return self.recipe in (None, AUTOMATIC)

    def read(self, ctx: typer.Context) -> "tuple[Recipe, tuple[str, ...]]":
        """Merge the named recipe and the values given; also returns why it was changed."""
        from model.training.recipe.recipe import Recipe, merge, read_recipe, stated_in
        from model.training.recipe.tiles import fit_tiles

        assert self.recipe is not None and not self.is_automatic
        given = self.given(ctx)
        stated = merge(stated_in(self.recipe), given)
        values, reason = fit_tiles(merge(read_recipe(self.recipe), given), stated)
        recipe = Recipe.from_values(values)
        check_places(recipe)
        return recipe, () if reason is None else (reason,)

    def check(self, ctx: typer.Context) -> None:
        """Raise the errors of the values given, where the images choose the others."""
        from model.network.weights_source import check_source
        from model.training.recipe.recipe import Recipe, merge, read_recipe

        given = self.given(ctx)
        any_shape = merge(read_recipe("paper"), {"network": {"scan": "sweep"}})
        recipe = Recipe.from_values(merge(any_shape, given))
        check_places(recipe)
        if "encoder_weights" in given:
            check_source(recipe.network.encoder, recipe.encoder_weights)

    def given(self, ctx: typer.Context) -> "Values":
        """Merge the preset, the given options and --set; later ones override."""
        from model.training.recipe.recipe import merge, read_preset, read_setting

        values = read_preset(self.preset) if self.preset is not None else {}
        values = merge(values, self._options(ctx))
        for text in [*(self.setting or []), *(["resize=tile"] if self.frame.tile else [])]:
            values = merge(values, read_setting(text))
        return values

    def _options(self, ctx: typer.Context) -> "Values":
        """Return the values of the options that were given."""
        from model.training.recipe.recipe import merge, nest, paths

        places = {path.rpartition(".")[2]: path for path in paths()}
        places["score_statistic"] = places.pop("statistic")
        values: dict[str, object] = {}
        for name, value in self.flat():
            source = ctx.get_parameter_source(name)
            if name in places and source is not None and source.name == "COMMANDLINE":
                read = READERS.get(name)
                values = merge(values, nest(places[name], read(value) if read else value))
        return values
