"""`mambaad detect`: sends images to a running service, and prints its decisions."""

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
"""Exit code if a part is NG or REVIEW, and every part was inspected."""
NOT_INSPECTED = 2
"""Exit code if a part was not inspected or a heatmap could not be written."""


class Picture(StrEnum):
    """A kind of heatmap."""

    MAP = "map"
    OVERLAY = "overlay"
    MASK = "mask"
    RAW = "raw"


class Origin(StrEnum):
    """Whether the images are of parts on the line, or a person's attempt."""

    LINE = "line"
    TEST = "test"


def detect(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Image files, folders, or quoted patterns."),
    ],
    *,
    category: Annotated[str, typer.Option(help="Category of the images.")],
    url: Annotated[
        str | None, typer.Option(help="URL of the service; by default MAMBAAD_URL or this machine.")
    ] = None,
    heatmap: Annotated[Picture | None, typer.Option(help="Kind of heatmaps to request.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write the heatmaps to.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON per image.")
    ] = False,
    timeout_ms: Annotated[
        float, typer.Option(min=1, help="Time limit of an image, including retries.")
    ] = 30_000.0,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Images sent at once.")] = 4,
    origin: Annotated[
        Origin,
        typer.Option(help="`test` is recorded, but neither delivered nor counted; `line` is."),
    ] = Origin.TEST,
) -> None:
    """Inspect images with a running service; MAMBAAD_API_KEY holds the API key.

    Exit code: 0 if every part is OK, 1 if one is NG or REVIEW, 2 if one was not inspected or a
    heatmap could not be written. For example:

      mambaad detect shots/*.png --category solar-mono --heatmap overlay --output heatmaps

      mambaad detect shots --category solar-mono
    """
    with _exit_with_2():
        worst = _inspect(
            images,
            category,
            url,
            heatmap,
            output,
            as_json=as_json,
            timeout_ms=timeout_ms,
            jobs=jobs,
            origin=origin,
        )
    raise typer.Exit(worst)


@contextmanager
def _exit_with_2() -> Iterator[None]:
    """Exit with 2 after any error: Python's exit code 1 would mean that a part is NG."""
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
    origin: Origin,
) -> int:
    """Inspect the images, print each result, and return the exit code."""
    from service.client import Client  # noqa: PLC0415 - keeps --help fast

    try:
        named = named_images(images)
    except ImageError as error:
        _refuse(str(error))
    paths = [image.path for image in named]
    files = _heatmap_files(named, heatmap, output)
    settings = ClientSettings()
    key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        client = Client(
            url or settings.url, api_key=key, timeout_ms=timeout_ms, ca_file=settings.ca_file
        )
    except ValueError as error:
        _refuse(str(error))
    worst = 0
    if not as_json:
        typer.echo(
            f"{'decision':9}  {'score':>6}  {'raw score':>10}  {'threshold':>10}  {'engine':20}  "
            "image"
        )
    with client:
        outcomes = _outcomes(client, paths, safe_name(category), heatmap, jobs, origin)
        for path, outcome in zip(paths, outcomes, strict=True):
            typer.echo(_as_json(path, outcome) if as_json else _as_text(path, outcome))
            worst = max(worst, _code(outcome))
            if path in files and not _saved(outcome, files[path]):
                worst = NOT_INSPECTED
    return worst


def _outcomes(
    client: "Client",
    images: Sequence[Path],
    category: str,
    heatmap: Picture | None,
    jobs: int,
    origin: Origin,
) -> "Iterator[Outcome]":
    """Yield each image's result or error, in order."""

    def inspect(path: Path) -> "Outcome":
        try:
            (result,) = client.detect(path, category=category, heatmap=heatmap, origin=origin)
            return result.require()
        except Exception as error:  # any error means that the part was not inspected
            return error

    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(inspect, images)


def _saved(outcome: "Outcome", file: Path) -> bool:
    """Write an image's heatmap, if it has one; return False if that failed."""
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
        return f"{'UNDECIDED':9}  {'':6}  {'':10}  {'':10}  {'':20}  {path}\n{'':11}{outcome}"
    return (
        f"{outcome.decision:9}  {outcome.score:6.4f}  {outcome.raw_score:10.6f}  "
        f"{outcome.threshold:10.6f}  {outcome.engine or '-':20}  {path}"
    )


def _as_json(path: Path, outcome: "Outcome") -> str:
    """Return an image's line: the service's answer without the heatmap."""
    if isinstance(outcome, Exception):
        error = {"kind": type(outcome).__name__, "detail": str(outcome)}
        return json.dumps({"path": str(path), "decision": "UNDECIDED", "error": error})
    answer = {name: value for name, value in outcome.answer.items() if name != "heatmap"}
    return json.dumps({"path": str(path), **answer})


def _heatmap_files(
    images: Sequence[NamedImage], heatmap: Picture | None, output: Path | None
) -> dict[Path, Path]:
    """Map images to heatmap files; end the program if one would overwrite an image."""
    if (heatmap is None) != (output is None):
        _refuse("--heatmap and --output must be used together: give both or none")
    if output is None:
        return {}
    try:
        return picture_files(images, output)
    except ImageError as error:
        _refuse(str(error))


def _refuse(line: str) -> NoReturn:
    typer.echo(f"mambaad detect: {line}", err=True)
    raise typer.Exit(NOT_INSPECTED)
