"""Options of `mambaad train` beside the recipe: the images and the outputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.early import find_data, find_images, positive, writable_folder
from model.cli.options import (
    CALIBRATION,
    STORE,
    Categories,
    Data,
    Defective,
    Device,
    Good,
    Layout,
    LocalRoot,
    MaxPixels,
    Weights,
)
from model.cli.train.images import Cache, Ignore, Roi, read_areas
from model.errors import ConfigError
from model.option_groups import OptionGroup

if TYPE_CHECKING:
    from model.training.data import GoodImages

_SCORE, _RUN = CALIBRATION, "The run"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions(OptionGroup):
    """The training images and the inspected area."""

    data: Data
    categories: Categories = None
    good: Good = None
    defective: Defective = None
    layout: Layout = None
    local_root: LocalRoot = None
    roi: Roi = None
    ignore: Ignore = None
    cache: Cache = None
    max_pixels: MaxPixels = None
    held_out_dir: Annotated[
        Path | None,
        typer.Option(
            "--held-out-dir",
            metavar="DIR",
            help="Good images for calibration: DIR/<category>/; by default "
            "DATA/<category>/held_out/good, or else a share of train/good.",
            rich_help_panel=_SCORE,
        ),
    ] = None

    def find(self) -> "GoodImages":
        """Find the good images; see `find_good_images`."""
        from model.cli.passed_over import tell_passed_over
        from model.dataset import Words
        from model.training.data import find_good_images

        find_data(self.data)
        if self.held_out_dir is not None:
            find_images(self.held_out_dir, "--held-out-dir")
        writable_folder(self.cache, "--cache-dir")
        found = find_good_images(
            self.data,
            self.categories,
            self.held_out_dir,
            self.layout,
            self.local_root,
            words=Words.given(self.good, self.defective, self.categories),
            on_read=tell_passed_over,
        )
        found.check_number()
        # Missing files are told of now; training reads them again.
        read_areas(self.roi, self.ignore, tuple({s.category for s in found.train}))
        return found.look_for_duplicates()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingOptions(OptionGroup):
    """Experiment tracking."""

    mlflow: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Log to this MLflow server.", rich_help_panel=_RUN),
    ] = None
    mlflow_experiment: Annotated[
        str, typer.Option(help="The MLflow experiment.", rich_help_panel=_RUN)
    ] = "mambaad"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(OptionGroup):
    """A run's device and folders, and how it treats an earlier run."""

    device: Device = "cpu"
    weights: Weights = STORE
    runs: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Unfinished runs: DIR/NAME.", rich_help_panel=_RUN),
    ] = Path("runs")
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue an interrupted run.", rich_help_panel=_RUN),
    ] = False
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Discard an unfinished run.", rich_help_panel=_RUN),
    ] = False
    save_every_minutes: Annotated[
        float,
        typer.Option(
            "--checkpoint-minutes",
            "--save-every-minutes",
            min=0.0,
            help="Minutes between saves of the run's state; a crash loses at most these.",
            rich_help_panel=_RUN,
        ),
    ] = 5.0
    max_minutes: Annotated[
        float | None,
        typer.Option(
            help="Stop after this time and keep the best weights so far.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None
    self_check: Annotated[
        bool,
        typer.Option(
            "--self-check/--no-self-check",
            help="At the end, draw defects into held-out good parts and count what is found.",
            rich_help_panel=_RUN,
        ),
    ] = True
    tracking: TrackingOptions = TrackingOptions()
    license: Annotated[
        str | None, typer.Option("--license", help="License in the manifest.", rich_help_panel=_RUN)
    ] = None
    notice: Annotated[
        str | None, typer.Option(help="Credits in the manifest.", rich_help_panel=_RUN)
    ] = None

    def check(self, name: str) -> None:
        """Raise errors of options and of the checkpoint's name."""
        from model.checkpoints.manifest import check_name

        check_name(name)
        positive("--max-minutes", self.max_minutes)
        if self.resume and self.restart:
            raise ConfigError(
                "give either --resume, to continue the unfinished run, or --restart, to discard it"
            )
        writable_folder(self.weights, "--weights")
        writable_folder(self.runs, "--runs")
