"""`mambaad evaluate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.early import find_data, find_folder, find_version, writable_file
from model.cli.options import (
    STORE,
    BatchSize,
    Categories,
    Data,
    Defective,
    Device,
    Engine,
    Good,
    Layout,
    LocalRoot,
    MaxPixels,
    Name,
    Precision,
    Version,
    Weights,
)
from model.cli.passed_over import tell_passed_over
from model.criteria import Criterion, check_kinds, parse
from model.errors import ConfigError, DatasetError, UnknownCategory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.checkpoints.checkpoint import Checkpoint
    from model.checkpoints.manifest import Manifest
    from model.dataset import Dataset, Sample

NOT_ACCEPTED = 3
"""Exit code when an accept criterion is not met."""

_SIGNING = "Scores and sign-off"


def _check_scores(file: Path | None) -> Path | None:
    if file is not None and file.suffix.lower() not in {".csv", ".json"}:
        raise ConfigError(f"--scores writes a .csv or a .json file, got {str(file)!r}")
    return file


def _check_share(share: float | None) -> float | None:
    if share is not None and not 0 < share < 1:
        raise ConfigError(f"--defective-share is between 0 and 1 (0.01 means 1 %), got {share}")
    return share


def evaluate(
    name: Name,
    data: Data,
    *,
    category: Categories = None,
    good: Good = None,
    defective: Defective = None,
    layout: Layout = None,
    local_root: LocalRoot = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the results as JSON.")
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            help="Record the results, and a copy of the report, in the checkpoint's folder."
        ),
    ] = True,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="OUT.html", help="Write a report: one HTML file."),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="Compare with PaDiM and PatchCore on the same features."),
    ] = False,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder, for the report's training curve."),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.csv|OUT.json",
            help="Write each image's scores, decision and marked area.",
            callback=_check_scores,
            rich_help_panel=_SIGNING,
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CRITERION",
            help="A limit to keep, such as 'escapes<=2%' or 'escapes[crack]<=5% at 95%'; "
            "repeatable. Exits with 3 if one is not met.",
            rich_help_panel=_SIGNING,
        ),
    ] = None,
    cost_false_reject: Annotated[
        float, typer.Option(min=0.0, help="What a false reject costs.", rich_help_panel=_SIGNING)
    ] = 1.0,
    cost_escape: Annotated[
        float, typer.Option(min=0.0, help="What an escape costs.", rich_help_panel=_SIGNING)
    ] = 20.0,
    defective_share: Annotated[
        float | None,
        typer.Option(
            help="Share of defective parts on the line, for costs; by default the test's.",
            callback=_check_share,
            rich_help_panel=_SIGNING,
        ),
    ] = None,
    batch_size: BatchSize = 8,
    max_pixels: MaxPixels = None,
    device: Device = "cpu",
    engine: Engine = "torch",
    precision: Precision = "float32",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Measure a checkpoint on the test images of DATA, per category and on average.

    Pixel metrics need DATA with defect masks. Rates are at the calibrated
    threshold, which evaluation never changes. --baselines fits on the images in
    DATA's train split that trained the checkpoint.

    --accept takes limits of escapes, escapes[KIND], false-rejects (<=),
    image-auroc and aupro (>=), which every category must keep; 'at 95%' limits
    the end of the figure's interval instead.

    Exit code: 0 if there are no criteria or all are met, 3 if one is not, 2 for
    an error.

    For example:

      mambaad evaluate bottle data/mvtec

      mambaad evaluate bottle data/mvtec --baselines --report bottle.html

      mambaad evaluate bottle data/mvtec --report bottle.html --accept "escapes<=2%"

      mambaad evaluate bottle data/other --no-record --scores other.csv

      mambaad evaluate bottle data/mvtec --engine openvino --no-record
    """
    from model.runtimes.offline import Choice, check_engine

    criteria = criteria_of(accept)
    manifest = find_version(weights, name, version)
    choice = Choice(engine, precision, device)
    check_engine(manifest, choice)
    find_data(data)
    for file, option, suffix in (
        (json_file, "--json", None), (scores, "--scores", None), (report, "--report", ".html")
    ):  # fmt: skip
        writable_file(file, option, suffix)
    if run is not None:
        find_folder(run, "--run", "a training's run, runs/NAME")
    dataset = read_test(manifest, data, category, (good, defective), (layout, local_root))
    check_kinds(criteria, [sample.defect for sample in dataset.test if not sample.is_good])
    from model.cli.evaluate.evaluation import Request, answer  # after the options are checked

    request = Request(
        name=name,
        version=version,
        data=data,
        dataset=dataset,
        json_file=json_file,
        scores=scores,
        report=report,
        records=record,
        has_baselines=baselines,
        run=run,
        criteria=criteria,
        costs=(cost_false_reject, cost_escape, defective_share),
        batch_size=batch_size,
        choice=choice,
        weights=weights,
    )
    if not answer(request):
        raise typer.Exit(NOT_ACCEPTED)


def criteria_of(texts: "Sequence[str] | None") -> tuple[Criterion, ...]:
    """Read the accept criteria, each one once."""
    return tuple(dict.fromkeys(parse(text) for text in texts or ()))


def read_test(
    manifest: "Manifest",
    data: Path,
    categories: list[str] | None,
    words: "tuple[list[str] | None, list[str] | None]",
    source: "tuple[str | None, Path | None]",
) -> "Dataset":
    """Read the data of a checkpoint's categories, or of some of them.

    `words` are the names of folders of good and of defective parts, `source` the layout and the
    local root. Raises `DatasetError` without test images, `UnknownCategory` for a category without
    a threshold.
    """
    from model.dataset import Words, read_dataset

    unknown = sorted(set(categories or ()) - set(manifest.categories))
    if unknown:
        raise UnknownCategory(
            f"{manifest.name!r} has no threshold for {', '.join(unknown)}; it has: "
            f"{', '.join(manifest.categories) or 'none'}"
        )
    named = Words.given(*words, categories)
    dataset = read_dataset(data, categories or manifest.categories, *source, words=named)
    tell_passed_over(dataset)
    require_test_images(dataset.test, data)
    return dataset


def require_test_images(samples: "Sequence[Sample]", data: Path) -> None:
    """Raise `DatasetError` if there are no test images."""
    if not samples:
        raise DatasetError(f"no test images in {data}: expected <category>/test/<defect>/*.png")


def write_json(file: Path, checkpoint: "Checkpoint", results: "Mapping[str, object]") -> None:
    """Write the results, with the checkpoint's name."""
    about = {"name": checkpoint.name, "version": checkpoint.version}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"checkpoint": about, **results}, indent=2) + "\n")
