"""Writes raw scores of real good parts that the checkpoint has not seen, for tests.

    python -m demo.good_scores data/solar tests/reference/solar_good_scores.json

The tests do not depend on the scores' values.
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
    data: Annotated[Path, typer.Argument(help="The folder that `demo.solar prepare` wrote.")],
    output: Annotated[Path, typer.Argument(help="The JSON file to write.")],
    name: Annotated[str, typer.Option(help="The checkpoint.")] = "solar",
    weights: Annotated[Path, typer.Option(help="The checkpoint store.")] = Path("weights"),
) -> None:
    """Score the good cells of held_out and test, by category."""
    detector = open_checkpoint(CheckpointStore(weights).load(name))
    cells = [cell for cell in read_split() if cell.is_good and cell.split in ("held_out", "test")]
    scores: dict[str, list[float]] = {}
    for category in sorted({cell.category for cell in cells}):
        files = [
            data / category / cell.split / "good" / Path(cell.file).name
            for cell in cells
            if cell.category == category
        ]
        raw_scores = scores.setdefault(category, [])
        for start in track(range(0, len(files), _BATCH), description=category):
            images = [open_image(path) for path in files[start : start + _BATCH]]
            raw_scores += [part.raw_score for part in detector.inspect_images(images, category)]
    output.write_text(json.dumps(scores, indent=1) + "\n")
    print({category: len(raw_scores) for category, raw_scores in scores.items()})


if __name__ == "__main__":
    typer.run(main)
