"""Manifests of Amazon Lookout for Vision: JSON lines, as SageMaker Ground Truth writes them.

    source-ref                the image: s3://bucket/key, or a path
    <label>-metadata          of type groundtruth/image-classification; its class-name is "normal"
                              or "anomaly"
    <mask>-ref                the mask, with <mask>-ref-metadata of type
                              groundtruth/semantic-segmentation; its internal-color-map names the
                              colours, the background's among them

`s3://bucket/key` is read from `bucket/key` or `key` below the local root, by default the
manifest's folder. A manifest named train or test, or in a folder of that name, is that split.
Source: the service's developer guide.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import ImageColor

from model.dataset.readers.folders import folders_in
from model.dataset.readers.request import Layout, Request
from model.dataset.readers.rows import Row, dataset_of, field_of, listed_file
from model.dataset.readers.tables import json_lines
from model.dataset.sample import DEFECTIVE, GOOD, Dataset, Sample
from model.errors import DatasetError

_CLASSIFICATION = "groundtruth/image-classification"
_SEGMENTATION = "groundtruth/semantic-segmentation"
_SUFFIXES = frozenset({".manifest", ".jsonl", ".json"})
_UNNAMED = frozenset({"train", "test", "output", "manifest", "manifests", "validation"})


def read_lookout(request: Request) -> Dataset:
    """Read one manifest, or those of a folder; raises `DatasetError`."""
    files = _manifests(request.root)
    if not files:
        raise DatasetError(
            f"{request.root} has no Lookout for Vision manifest: expected JSON lines with "
            "source-ref, in *.manifest"
        )
    top = request.root if request.root.is_dir() else request.root.parent
    category = request.name(_category(request.root))
    base = request.local_root or top
    rows = [row for file in files for row in _rows(file, category, base, _split(file, top))]
    return dataset_of(rows, request, "lookout")


def _manifests(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() in _SUFFIXES and _fits(root) else []
    places = [root, *folders_in(root), *folders_in(root / "manifests")]
    files = (path for place in places for path in sorted(place.glob("*.manifest")))
    return [path for path in dict.fromkeys(files) if _fits(path)]


def _fits(path: Path) -> bool:
    with path.open("rb") as file:
        return b'"source-ref"' in file.read(65536)


def _category(root: Path) -> str:
    resolved = root.resolve()
    names = [resolved.name if root.is_dir() else resolved.stem, *(p.name for p in resolved.parents)]
    return next(name for name in names if name.lower() not in _UNNAMED)


def _split(file: Path, top: Path) -> str | None:
    inner = file.resolve().relative_to(top.resolve())
    words = [part.lower() for part in (inner.stem, *(p.name for p in inner.parents))]
    return next((split for word in words for split in ("train", "test") if split in word), None)


def _rows(file: Path, category: str, base: Path, split: str | None) -> Iterator[Row]:
    for row, place in json_lines(file):
        image = _local(field_of(row, "source-ref", place), base, place)
        if _class(row, place) == "normal":
            yield Row(Sample(image, category, GOOD), split, place)
            continue
        mask, colours = _mask(row)
        background, kinds = _read_colours(colours)
        sample = Sample(
            image,
            category,
            kinds[0] if len(kinds) == 1 else DEFECTIVE,
            None if mask is None else _local(mask, base, place),
            None if mask is None else background,
        )
        # Anomalies are never used for training, even in a train manifest.
        yield Row(sample, split and "test", place)


def _class(row: Mapping[str, Any], place: str) -> str:
    """Return "normal" or "anomaly" from the class-name, because the label numbers vary."""
    for value in _metadata(row, _CLASSIFICATION).values():
        name = str(value.get("class-name", "")).lower()
        if name in ("normal", "anomaly"):
            return name
        raise DatasetError(f"{place}: class-name must be normal or anomaly, got {name!r}")
    raise DatasetError(f"{place}: no label: expected a -metadata field of type {_CLASSIFICATION}")


def _mask(row: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    for key, value in _metadata(row, _SEGMENTATION).items():
        reference = row.get(key.removesuffix("-metadata"))
        if reference:
            return str(reference), value.get("internal-color-map", {})
    return None, {}


def _metadata(row: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    values = {k: v for k, v in row.items() if k.endswith("-metadata") and isinstance(v, Mapping)}
    return {k: v for k, v in values.items() if v.get("type") == kind}


def _read_colours(colours: Mapping[str, Any]) -> tuple[tuple[int, int, int], list[str]]:
    """Return the background's colour, white by default, and the names of the other kinds."""
    named = {str(v["class-name"]): str(v["hex-color"]) for v in colours.values()}
    background = next((n for n in named if n.lower() == "background"), None)
    colour = named.pop(background) if background else "#ffffff"
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return (red, green, blue), list(named)


def _local(reference: str, base: Path, place: str) -> Path:
    if not reference.startswith("s3://"):
        return listed_file(base, reference)
    bucket_and_key = reference.removeprefix("s3://")
    key = bucket_and_key.partition("/")[2]
    tried = [base / bucket_and_key, base / key]
    for path in tried:
        if path.is_file():
            return path
    raise DatasetError(
        f"{place}: no file for {reference}: looked for {' and '.join(map(str, tried))}; give the "
        "folder of the bucket's files with --local-root"
    )


LOOKOUT = Layout(
    "lookout",
    "*.manifest of JSON lines with source-ref (or such a file)",
    lambda root: bool(_manifests(root)),
    read_lookout,
)
