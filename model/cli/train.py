"""`mambaad train`."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli.options import STORE, Categories, Data, Device, Layout, LocalRoot, Weights
from model.cli.values import read_depths, read_size, read_source, read_weights

if TYPE_CHECKING:
    from rich.console import Console

    from model.anomaly import Scoring
    from model.checkpoint import Checkpoint
    from model.network import NetworkConfig
    from model.training import Run, TrainingConfig, TrainingData

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: what was to follow the training does not."""

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
    category: Categories = None,
    layout: Layout = None,
    local_root: LocalRoot = None,
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
        str, typer.Option(help="mse (the paper's) or cosine.", rich_help_panel=_RECIPE)
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
        float, typer.Option(help="Save the run's state.", rich_help_panel=_RUN)
    ] = 5.0,
    license_: Annotated[
        str | None, typer.Option("--license", help="For the manifest.", rich_help_panel=_RUN)
    ] = None,
    notice: Annotated[
        str | None, typer.Option(help="For the manifest: credits.", rich_help_panel=_RUN)
    ] = None,
) -> None:
    """Train a network on good images, calibrate it on held-out ones and save a checkpoint.

    The defaults are the paper's recipe, but for the encoder (here the one
    whose weights come with a package) and the epochs. Ctrl-C saves the run and
    a checkpoint; --resume goes on exactly where it stopped.

    For example:

      mambaad train data/mvtec --name all-parts

      mambaad train data/mvtec --name bottle --category bottle --epochs 30

      mambaad train data/mvtec --name bottle --category bottle --epochs 30 --resume
    """
    from rich.console import Console

    from model.anomaly import Scoring
    from model.checkpoint import CheckpointStore
    from model.network import NetworkConfig
    from model.training import Augmentation, Run, TrainingConfig, read_training_data

    options = ctx.params | {"image_size": read_size(image_size), "depths": read_depths(depths)}
    network = NetworkConfig(**select(NetworkConfig, options))
    options["augmentation"] = Augmentation(**select(Augmentation, options))
    config = TrainingConfig(**select(TrainingConfig, options))
    images = read_training_data(
        data, category, held_out, held_out_fraction, seed, layout, local_root
    )
    run = Run(
        name=name,
        folder=runs / name,
        store=CheckpointStore(weights),
        device=device,
        encoder_weights=read_source(encoder_weights),
        resume=resume,
        restart=restart,
        save_every_s=60 * save_every_minutes,
        license=license_,
        notice=notice,
    )
    options |= {"statistic": score_statistic, "scale_weights": read_weights(scale_weights)}
    scoring = Scoring(**select(Scoring, options))
    console = Console(stderr=True)
    console.print(
        f"{len(images.train)} good images to train on, {len(images.held_out)} held out, "
        f"of {', '.join(images.categories)}",
        highlight=False,
    )
    checkpoint = watch_training(console, run, config, network, images, scoring)
    report(checkpoint, run)
    if not checkpoint.manifest.training["finished"]:
        raise typer.Exit(INTERRUPTED)


def watch_training(
    console: "Console",
    run: "Run",
    config: "TrainingConfig",
    network: "NetworkConfig",
    images: "TrainingData",
    scoring: "Scoring",
) -> "Checkpoint":
    """Train with bars or lines on the console, and stop well on Ctrl-C."""
    from model.training import run as training
    from model.training.interrupt import stop_on_interrupt
    from model.training.monitor import watch

    def notice() -> None:
        console.print("stopping after this step; Ctrl-C again stops at once, unsaved")

    with watch(console) as monitor, stop_on_interrupt(notice) as stop:
        return training.train(run, config, network, images, scoring, monitor=monitor, stop=stop)


def report(checkpoint: "Checkpoint", run: "Run") -> None:
    """Say what came of the run, and what each category's threshold promises."""
    training = checkpoint.manifest.training
    for category, calibration in checkpoint.calibrations.items():
        print(f"{category}: {calibration.promise()}")
    print(f"saved {checkpoint.name}, version {checkpoint.version}, in {run.store.root}")
    if not training["finished"]:
        print(
            f"stopped in epoch {training['epochs_done'] + 1} of {training['recipe']['epochs']}: "
            "the same command with --resume goes on"
        )


def select(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options named as the fields of a dataclass, each of which there must be."""
    return {field.name: options[field.name] for field in fields(cls)}
