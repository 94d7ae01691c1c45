"""Raw scores of real good parts that a checkpoint has not learned from, for tests to draw from.

    python -m demo.good_scores data/solar tests/reference/solar_good_scores.json

They pin no behaviour of the network: what is tested with them holds for any scores.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from demo.solar import read_split
from model.checkpoints.checkpoint import CheckpointStore
from model.images.decoding import open_image
from model.runtimes.torch import open_checkpoint

_BATCH = 8


def main(
    data: Annotated[Path, typer.Argument(help="What `demo.solar prepare` wrote.")],
    output: Annotated[Path, typer.Argument(help="The JSON file to write.")],
    name: Annotated[str, typer.Option(help="The checkpoint.")] = "solar",
    weights: Annotated[Path, typer.Option(help="The store it lies in.")] = Path("weights"),
) -> None:
    """Score the good cells held out and those of the test split, by category."""
    detector = open_checkpoint(CheckpointStore(weights).load(name))
    kept = [cell for cell in read_split() if cell.is_good and cell.split in ("held_out", "test")]
    scores: dict[str, list[float]] = {}
    for category in sorted({cell.category for cell in kept}):
        files = [
            data / category / cell.split / "good" / Path(cell.file).name
            for cell in kept
            if cell.category == category
        ]
        found = scores.setdefault(category, [])
        for start in track(range(0, len(files), _BATCH), description=category):
            images = [open_image(path) for path in files[start : start + _BATCH]]
            found += [one.raw_score for one in detector.inspect_images(images, category)]
    output.write_text(json.dumps(scores, indent=1) + "\n")
    print({category: len(found) for category, found in scores.items()})


if __name__ == "__main__":
    typer.run(main)
