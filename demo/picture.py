"""Makes the README's picture: sample cells beside the heatmaps of a running service.

make run                                    # in one terminal
python -m demo.picture docs/heatmap.png     # in another
"""

import base64
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from PIL import Image

from model.images.decoding import OWN_FILES, decode, open_image
from model.images.preprocess import to_rgb

SAMPLES = Path(__file__).parents[1] / "samples"
GAP = 12
WHITE = (255, 255, 255)


def inspect(url: str, category: str, image: Path) -> dict[str, Any]:
    """Post an image to the service and return its result, with the overlay."""
    answer = httpx.post(
        f"{url}/detect",
        params={"category": category, "heatmap": "overlay"},
        content=image.read_bytes(),
        headers={"Content-Type": "image/png"},
        timeout=60,
    )
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()["results"][0]
    return result


def tiles(url: str, pattern: str) -> list[Image.Image]:
    """Return each matching sample, followed by its overlay."""
    pictures = []
    for image in sorted(SAMPLES.glob(pattern)):
        category = image.parent.name
        result = inspect(url, category, image)
        print(f"{category}/{image.name}: {result['decision']}, score {result['score']:.3f}")
        overlay = base64.b64decode(result["heatmap"])
        pictures += [to_rgb(open_image(image)), decode(overlay, OWN_FILES)]
    return pictures


def in_a_row(images: list[Image.Image]) -> Image.Image:
    """Return the images side by side on white."""
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    row = Image.new("RGB", (width, max(image.height for image in images)), WHITE)
    left = 0
    for image in images:
        row.paste(image, (left, 0))
        left += image.width + GAP
    return row


def main(
    path: Path,
    url: Annotated[str, typer.Option(help="URL of the service.")] = "http://127.0.0.1:8000",
    pattern: Annotated[str, typer.Option(help="The samples to show.")] = "*/defective-1.png",
) -> None:
    """Write a picture of sample cells and their heatmaps to PATH."""
    images = tiles(url, pattern)
    if not images:
        raise typer.BadParameter(f"no sample matches {pattern!r} in {SAMPLES}")
    path.parent.mkdir(parents=True, exist_ok=True)
    in_a_row(images).save(path, optimize=True)


if __name__ == "__main__":
    typer.run(main)
