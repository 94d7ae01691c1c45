"""Times an inspection with the paper's configuration and with a shipped checkpoint.

    python benchmarks/network.py --json benchmarks/results/network-cpu.json

End to end from the uint8 tensor (encoder, decoder, anomaly map, decision), at batch 1 and 8.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from model.benchmark import measure, of_checkpoint, of_paper
from model.checkpoints.checkpoint import CheckpointStore

BATCH_SIZES = (1, 8)


def main(
    checkpoint: Annotated[str, typer.Option(help="A checkpoint's name.")] = "solar",
    weights: Annotated[Path, typer.Option(help="The checkpoint store.")] = Path("weights"),
    device: str = "cpu",
    repeats: Annotated[int, typer.Option(min=2)] = 20,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print p50, p95, p99 and images a second of each, and write them as JSON."""
    timings = []
    for subject in (
        of_paper(device),
        of_checkpoint(CheckpointStore(weights).load(checkpoint), device),
    ):
        for batch_size in BATCH_SIZES:
            timing = measure(subject, batch_size, repeats)
            print(timing.text(), end="\n\n", flush=True)
            timings.append(timing.to_dict())
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(timings, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
