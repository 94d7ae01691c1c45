"""`mambaad train`."""

from pathlib import Path
from typing import Annotated

import typer

from model.cli.images import (
    Cache,
    GreyBits,
    Ignore,
    Resize,
    Roi,
    Tile,
    TileOverlap,
    TileScale,
)
from model.cli.options import STORE, Categories, Data, Device, Layout, LocalRoot, Preset, Weights
from model.cli.recipes import read_recipe_options

_NETWORK, _RECIPE, _AUGMENT, _SCORE, _RUN = (
    "The network",
    "The recipe",
    "Augmentation (what leaves a good part a good part)",
    "Calibration",
    "The run",
)


def train(
    ctx: typer.Context,
    data: Data,
    *,
    name: Annotated[str, typer.Option(help="What to call the checkpoint.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="paper, paper-100, paper-300, fast, quality or a YAML file; options that are "
            "given have the last word, the defaults below count without a recipe only.",
            show_default=False,
        ),
    ] = None,
    preset: Preset = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any value of a recipe; repeatable."),
    ] = None,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print every value, and train nothing.")
    ] = False,
    category: Categories = None,
    layout: Layout = None,
    local_root: LocalRoot = None,
    resize: Resize = "stretch",
    tile: Tile = False,
    tile_overlap: TileOverlap = 0.25,
    tile_scale: TileScale = 1.0,
    grey_bits: GreyBits = 16,
    roi: Roi = None,
    ignore: Ignore = None,
    cache: Cache = None,
    held_out: Annotated[
        Path | None,
        typer.Option(
            "--held-out-dir",
            metavar="DIR",
            help="Good images to calibrate with, DIR/<category>/; by default "
            "DATA/<category>/held_out/good, or else a share of train/good.",
            rich_help_panel=_SCORE,
        ),
    ] = None,
    held_out_fraction: Annotated[
        float, typer.Option(help="The share of train/good held out.", rich_help_panel=_SCORE)
    ] = 0.2,
    folds: Annotated[
        int,
        typer.Option(help="Hold none out, train so many more networks.", rich_help_panel=_SCORE),
    ] = 0,
    alpha: Annotated[
        float,
        typer.Option(help="The false-reject rate to calibrate for.", rich_help_panel=_SCORE),
    ] = 0.01,
    score_statistic: Annotated[
        str,
        typer.Option(help="Image score from the map: max or top_mean.", rich_help_panel=_SCORE),
    ] = "max",
    top_fraction: Annotated[
        float, typer.Option(help="The share of pixels in top_mean.", rich_help_panel=_SCORE)
    ] = 0.01,
    sigma: Annotated[
        float, typer.Option(help="The map's Gaussian blur, in pixels.", rich_help_panel=_SCORE)
    ] = 4.0,
    scale_weights: Annotated[
        str,
        typer.Option(
            help="The scales' shares in the map, fine to coarse; 0: unused, and not computed.",
            rich_help_panel=_SCORE,
        ),
    ] = "1,1,1",
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise",
            help="Measure each pixel from what training parts show there: for aligned parts.",
            rich_help_panel=_SCORE,
        ),
    ] = False,
    encoder: Annotated[
        str,
        typer.Option(
            help="A timm model; the paper's is resnet34 (with --encoder-weights hub or a file).",
            rich_help_panel=_NETWORK,
        ),
    ] = "tf_efficientnet_lite0",
    encoder_weights: Annotated[
        str,
        typer.Option(
            help="ImageNet weights: package (tf_efficientnet_lite0), hub, or a file.",
            rich_help_panel=_NETWORK,
        ),
    ] = "package",
    image_size: Annotated[
        str, typer.Option(help="Pixels, N or HEIGHTxWIDTH.", rich_help_panel=_NETWORK)
    ] = "256",
    scan: Annotated[
        str,
        typer.Option(help="sweep, scan, zorder, zigzag or hilbert.", rich_help_panel=_NETWORK),
    ] = "hilbert",
    directions: Annotated[int, typer.Option(help="2, 4 or 8.", rich_help_panel=_NETWORK)] = 8,
    depths: Annotated[
        str,
        typer.Option(help="Blocks in each stage, coarse to fine.", rich_help_panel=_NETWORK),
    ] = "3,4,6,3",
    state_size: Annotated[
        int, typer.Option(help="States a channel.", rich_help_panel=_NETWORK)
    ] = 16,
    drop_path: Annotated[
        float, typer.Option(help="Stochastic depth.", rich_help_panel=_NETWORK)
    ] = 0.2,
    epochs: Annotated[
        int, typer.Option(help="The paper trains for 1000.", rich_help_panel=_RECIPE)
    ] = 100,
    batch_size: Annotated[int, typer.Option(rich_help_panel=_RECIPE)] = 16,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="By default 0.005 x batch size / 16.", show_default=False, rich_help_panel=_RECIPE
        ),
    ] = None,
    weight_decay: Annotated[float, typer.Option(rich_help_panel=_RECIPE)] = 1e-4,
    loss: Annotated[
        str,
        typer.Option(help="mse (the paper's), cosine or global_cosine.", rich_help_panel=_RECIPE),
    ] = "mse",
    schedule: Annotated[
        str, typer.Option(help="step (the paper's), cosine or onecycle.", rich_help_panel=_RECIPE)
    ] = "step",
    decay_at: Annotated[
        float,
        typer.Option(help="Where step falls to a tenth, 0 to 1.", rich_help_panel=_RECIPE),
    ] = 0.8,
    warmup_epochs: Annotated[
        int, typer.Option(help="Climb to the learning rate.", rich_help_panel=_RECIPE)
    ] = 0,
    clip_norm: Annotated[
        float, typer.Option(help="Clip the gradient's norm; 0: no.", rich_help_panel=_RECIPE)
    ] = 0.0,
    ema_decay: Annotated[
        float, typer.Option(help="Average the weights; 0: no.", rich_help_panel=_RECIPE)
    ] = 0.0,
    precision: Annotated[
        str, typer.Option(help="float32 or bfloat16 (mixed).", rich_help_panel=_RECIPE)
    ] = "float32",
    patience: Annotated[
        int,
        typer.Option(
            help="Stop after so many epochs without a lower loss on held-out good images, and keep "
            "the best weights; 0: never.",
            rich_help_panel=_RECIPE,
        ),
    ] = 0,
    hflip: Annotated[
        bool, typer.Option("--hflip", help="Mirror left-right.", rich_help_panel=_AUGMENT)
    ] = False,
    vflip: Annotated[
        bool, typer.Option("--vflip", help="Mirror top-bottom.", rich_help_panel=_AUGMENT)
    ] = False,
    rot90: Annotated[
        bool, typer.Option("--rot90", help="Turn by 90 degrees.", rich_help_panel=_AUGMENT)
    ] = False,
    shift: Annotated[
        float,
        typer.Option(help="Move by up to this share of a side.", rich_help_panel=_AUGMENT),
    ] = 0.0,
    brightness: Annotated[
        float,
        typer.Option(help="Lighter or darker by up to this share.", rich_help_panel=_AUGMENT),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Fixes everything random.")] = 0,
    device: Device = "cpu",
    weights: Weights = STORE,
    runs: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Unfinished runs: DIR/NAME.", rich_help_panel=_RUN),
    ] = Path("runs"),
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where the run stopped.", rich_help_panel=_RUN),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Give up an unfinished run.", rich_help_panel=_RUN),
    ] = False,
    save_every_minutes: Annotated[
        float,
        typer.Option(
            "--checkpoint-minutes",
            "--save-every-minutes",
            help="Save the run's state: all that a crash can cost.",
            rich_help_panel=_RUN,
        ),
    ] = 5.0,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            help="Stop then, and keep the best weights so far.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Log to this MLflow server.", rich_help_panel=_RUN),
    ] = None,
    mlflow_experiment: Annotated[
        str, typer.Option(help="The experiment there.", rich_help_panel=_RUN)
    ] = "mambaad",
    license_: Annotated[
        str | None, typer.Option("--license", help="For the manifest.", rich_help_panel=_RUN)
    ] = None,
    notice: Annotated[
        str | None, typer.Option(help="For the manifest: credits.", rich_help_panel=_RUN)
    ] = None,
) -> None:
    """Train a network on good images, calibrate it on held-out ones and save a checkpoint.

    Without --recipe the defaults are the paper's, but for the encoder (here
    the one whose weights come with a package) and the epochs. Ctrl-C saves the
    run and a checkpoint; --resume goes on exactly where it stopped.

    For example:

      mambaad train data/mvtec --name all-parts --recipe paper

      mambaad train data/mvtec --name bottle --category bottle --recipe fast

      mambaad train data/mvtec --name bottle --category bottle --recipe fast --resume

      torchrun --nproc-per-node 4 --no-python mambaad train data/mvtec --name parts --device cuda
    """
    from model.cli.training import INTERRUPTED, Request, follow
    from model.training.recipe import Recipe

    settings = [*(setting or []), *(["resize=tile"] if tile else [])]
    resolved = Recipe.from_values(read_recipe_options(ctx, recipe, preset, settings))
    if print_recipe:
        print(resolved.to_yaml(), end="")
        return
    checkpoint = follow(
        Request(
            recipe=resolved,
            data=data,
            categories=category,
            layout=layout,
            local_root=local_root,
            roi=roi,
            ignore=ignore,
            cache=cache,
            held_out_dir=held_out,
            name=name,
            runs=runs,
            weights=weights,
            device=device,
            resume=resume,
            restart=restart,
            save_every_minutes=save_every_minutes,
            max_minutes=max_minutes,
            mlflow=mlflow,
            mlflow_experiment=mlflow_experiment,
            license=license_,
            notice=notice,
        )
    )
    if checkpoint and checkpoint.manifest.training["ended"] == "interrupted":
        raise typer.Exit(INTERRUPTED)
