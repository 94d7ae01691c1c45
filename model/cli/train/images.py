"""Training options for images: their frame and the inspected area."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from model.errors import ConfigError

if TYPE_CHECKING:
    from model.images.areas import Area

_PANEL = "Images (docs/quality.md)"

Resize: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="How an image becomes the network's input: stretch, letterbox or tile.",
        rich_help_panel=_PANEL,
    ),
]
Tile: TypeAlias = Annotated[
    bool, typer.Option("--tile", help="The same as --resize tile.", rich_help_panel=_PANEL)
]
TileOverlap: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Least overlap of tiles, as a share of a side.", rich_help_panel=_PANEL),
]
TileScale: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Resize images by this factor before tiling.", rich_help_panel=_PANEL),
]
GreyBits: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Bits used in 16-bit grey images: 8 to 16.", rich_help_panel=_PANEL),
]
Roi: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[CATEGORY=]FILE",
        help="Area to inspect: a picture that is white there, or polygons in JSON; repeatable.",
        rich_help_panel=_PANEL,
    ),
]
Ignore: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[CATEGORY=]FILE",
        help="Area to ignore, in the same formats.",
        rich_help_panel=_PANEL,
    ),
]
Cache: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir", metavar="DIR", help="Cache resized images here.", rich_help_panel=_PANEL
    ),
]


def read_areas(
    roi: list[str] | None, ignore: list[str] | None, categories: tuple[str, ...]
) -> dict[str, "Area"]:
    """Read each category's area from its files; raises `ConfigError`."""
    from model.images.areas import read_area

    regions, ignored = _files("--roi", roi, categories), _files("--ignore", ignore, categories)
    named = sorted(regions.keys() | ignored.keys())
    return {name: read_area(regions.get(name), ignored.get(name)) for name in named}


def _files(option: str, given: list[str] | None, categories: tuple[str, ...]) -> dict[str, Path]:
    """Return the file of each category; a file without a name belongs to the only category."""
    files: dict[str, Path] = {}
    for text in given or []:
        name, equals, file = text.rpartition("=")
        if not equals and len(categories) > 1:
            raise ConfigError(
                f"{option} needs CATEGORY=FILE, one of {', '.join(categories)}; got {text!r}"
            )
        category = name if equals else categories[0]
        if category not in categories:
            raise ConfigError(f"{option}: no category {category!r}; have: {', '.join(categories)}")
        if category in files:
            raise ConfigError(f"{option} is given twice for {category!r}")
        files[category] = Path(file)
    return files
