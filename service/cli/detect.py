"""`mambaad detect`: images to a running service, decisions to the terminal and the exit code."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import typer

from model.errors import ImageError
from model.images.arguments import NamedImage, named_images, picture_files
from model.names import safe_name
from service.settings import ClientSettings

if TYPE_CHECKING:
    from service.client import Client, Result

    Outcome: TypeAlias = Result | Exception

FOUND = 1
"""Exit code when a part is NG or to be reviewed, and every part was inspected."""
NOT_INSPECTED = 2
"""Exit code when a part could not be inspected, nothing was, or a heatmap could not be written."""


class Picture(StrEnum):
    """Which heatmap to ask for."""

    MAP = "map"
    OVERLAY = "overlay"
    MASK = "mask"
    RAW = "raw"


def detect(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Image files, folders, or patterns in quotes."),
    ],
    *,
    category: Annotated[str, typer.Option(help="What the images show.")],
    url: Annotated[
        str | None, typer.Option(help="The service; by default MAMBAAD_URL or this machine's.")
    ] = None,
    heatmap: Annotated[Picture | None, typer.Option(help="Ask for heatmaps as well.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write the heatmaps.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line an image.")] = False,
    timeout_ms: Annotated[
        float, typer.Option(min=1, help="How long an image may take, retries included.")
    ] = 30_000.0,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Images on their way at once.")] = 4,
) -> None:
    """Have a running service inspect images; an API key comes from MAMBAAD_API_KEY.

    Exit code: 0 when every part is OK, 1 when one is NG or to be reviewed, 2 when one could not be
    inspected. For example:

      mambaad detect shots/*.png --category solar-mono --heatmap overlay --output heatmaps

      mambaad detect shots --category solar-mono
    """
    with _never_found():
        worst = _inspect(
            images,
            category,
            url,
            heatmap,
            output,
            as_json=as_json,
            timeout_ms=timeout_ms,
            jobs=jobs,
        )
    raise typer.Exit(worst)


@contextmanager
def _never_found() -> Iterator[None]:
    """End with 2 whatever else fails: 1, Python's own code for it, says that a part is NG."""
    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        with suppress(OSError):  # the terminal may be gone
            typer.echo(f"mambaad detect: {type(error).__name__}: {error}"[:1000], err=True)
        raise typer.Exit(NOT_INSPECTED) from None


def _inspect(
    images: list[Path],
    category: str,
    url: str | None,
    heatmap: Picture | None,
    output: Path | None,
    *,
    as_json: bool,
    timeout_ms: float,
    jobs: int,
) -> int:
    """Inspect the images, print what became of each, and return the exit code."""
    from service.client import Client  # noqa: PLC0415 - for --help to answer at once

    try:
        named = named_images(images)
    except ImageError as error:
        _refuse(str(error))
    paths = [image.path for image in named]
    files = _heatmap_files(named, heatmap, output)
    settings = ClientSettings()
    key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        client = Client(url or settings.url, api_key=key, timeout_ms=timeout_ms)
    except ValueError as error:
        _refuse(str(error))
    worst = 0
    if not as_json:
        typer.echo(f"{'decision':9}  {'score':>6}  {'raw score':>10}  {'threshold':>10}  image")
    with client:
        outcomes = _outcomes(client, paths, safe_name(category), heatmap, jobs)
        for path, outcome in zip(paths, outcomes, strict=True):
            typer.echo(_as_json(path, outcome) if as_json else _as_text(path, outcome))
            worst = max(worst, _code(outcome))
            if path in files and not _saved(outcome, files[path]):
                worst = NOT_INSPECTED
    return worst


def _outcomes(
    client: "Client", images: Sequence[Path], category: str, heatmap: Picture | None, jobs: int
) -> "Iterator[Outcome]":
    """Yield what became of each image, in their order."""

    def inspect(path: Path) -> "Outcome":
        try:
            (result,) = client.detect(path, category=category, heatmap=heatmap)
            return result.require()
        except Exception as error:  # whatever it is, this part was not inspected
            return error

    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(inspect, images)


def _saved(outcome: "Outcome", file: Path) -> bool:
    """Write an image's heatmap, where there is one; whether nothing hindered that."""
    if isinstance(outcome, Exception) or not outcome.heatmap:
        return True
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        outcome.heatmap.save(file)
    except OSError as error:
        typer.echo(f"mambaad detect: {file} cannot be written: {error.strerror}", err=True)
        return False
    return True


def _code(outcome: "Outcome") -> int:
    if isinstance(outcome, Exception) or not outcome.was_inspected:
        return NOT_INSPECTED
    return 0 if outcome.is_ok else FOUND


def _as_text(path: Path, outcome: "Outcome") -> str:
    if isinstance(outcome, Exception):
        return f"{'UNDECIDED':9}  {'':6}  {'':10}  {'':10}  {path}\n           {outcome}"
    return (
        f"{outcome.decision:9}  {outcome.score:6.4f}  {outcome.raw_score:10.6f}  "
        f"{outcome.threshold:10.6f}  {path}"
    )


def _as_json(path: Path, outcome: "Outcome") -> str:
    """Write an image's line: the service's own answer, but for the heatmap's bytes."""
    if isinstance(outcome, Exception):
        error = {"kind": type(outcome).__name__, "detail": str(outcome)}
        return json.dumps({"path": str(path), "decision": "UNDECIDED", "error": error})
    answer = {name: value for name, value in outcome.answer.items() if name != "heatmap"}
    return json.dumps({"path": str(path), **answer})


def _heatmap_files(
    images: Sequence[NamedImage], heatmap: Picture | None, output: Path | None
) -> dict[Path, Path]:
    """Name the heatmap of each image; refuses those that would overwrite an image."""
    if (heatmap is None) != (output is None):
        _refuse("--heatmap and --output go together")
    if output is None:
        return {}
    try:
        return picture_files(images, output)
    except ImageError as error:
        _refuse(str(error))


def _refuse(why: str) -> NoReturn:
    typer.echo(f"mambaad detect: {why}", err=True)
    raise typer.Exit(NOT_INSPECTED)
