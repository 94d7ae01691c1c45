"""`mambaad benchmark`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from model.cli.early import find_version
from model.cli.options import STORE, BatchSize, Device, Version, Weights
from model.errors import ConfigError


def benchmark(
    *,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="Time this checkpoint.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="paper", help="Time the paper's configuration, with random weights."),
    ] = None,
    batch_size: BatchSize = 1,
    repeats: Annotated[int, typer.Option(min=2, help="Number of batches to time.")] = 20,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the results as JSON.")
    ] = None,
    device: Device = "cpu",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Time an inspection end to end: from the uint8 tensor to the decisions.

    For example:

      mambaad benchmark --config paper

      mambaad benchmark --checkpoint solar --batch-size 8 --json solar.json
    """
    if (checkpoint is None) == (config is None):
        raise ConfigError("give either --checkpoint NAME or --config paper, not both")
    if config not in {None, "paper"}:
        raise ConfigError(f"--config must be paper, got {config!r}")
    if checkpoint is not None:
        find_version(weights, checkpoint, version)
    from model.benchmark import measure, of_checkpoint, of_paper
    from model.checkpoints.checkpoint import CheckpointStore

    subject = (
        of_paper(device)
        if checkpoint is None
        else of_checkpoint(CheckpointStore(weights).load(checkpoint, version), device)
    )
    result = measure(subject, batch_size, repeats)
    print(result.text())
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result.to_dict(), indent=2) + "\n")
