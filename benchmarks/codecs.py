"""Compares image decoders on typical camera images: speed and pixel differences.

    pip install 'mambaad-service[bench]'
    python benchmarks/codecs.py --json benchmarks/results/codecs-cpu.json

Times Pillow, simplejpeg and OpenCV on JPEG (quality 90) and PNG, in colour and grey, at 0.3, 5 and
20 megapixels: mosaics of the sample cells with sensor noise. "ready" includes making the network's
tensor, always resized with Pillow. Decoders take turns in one thread and processor time counts,
since the service decodes many images side by side. Further tables compare alternatives to the
resize used in training, and ways to write a heatmap overlay.
"""

import importlib.metadata
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import typer
from PIL import Image, features

from model.benchmark import device_name, versions
from model.images.preprocess import Preprocessing, upright

SAMPLES = Path(__file__).parents[1] / "samples"
SIZES = {0.3: (640, 480), 5.0: (2592, 1944), 20.0: (5472, 3648)}
TILES = 4
"""Sample cells along the longer side of a picture."""
PREPROCESSING = Preprocessing(image_size=(256, 256), mean=(0.5,) * 3, std=(0.5,) * 3)

Decoder: TypeAlias = Callable[[bytes, str], Image.Image]


@dataclass(frozen=True)
class Timing:
    """Medians of processor time in ms; `max_difference` is the largest of a pixel from Pillow's."""

    decoder: str
    format: str
    mode: str
    megapixels: float
    decode_ms: float
    ready_ms: float
    max_difference: int


@dataclass(frozen=True)
class Resize:
    """Median ms to decode and resize a JPEG, and the difference from bilinear pixels."""

    way: str
    megapixels: float
    ready_ms: float
    max_difference: int
    mean_difference: float


@dataclass(frozen=True)
class Encoding:
    """Median ms to write a coloured picture, and the file size."""

    way: str
    megapixels: float
    encode_ms: float
    bytes: int


def main(
    repeats: Annotated[int, typer.Option(min=1)] = 7,
    megapixels: Annotated[list[float] | None, typer.Option(help="Some of 0.3, 5 and 20.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print medians and write them as JSON."""
    about = {"device_name": device_name("cpu"), "repeats": repeats, "versions": all_versions()}
    print(f"{about['device_name']}, processor time of one thread, medians of {repeats}")
    print(", ".join(f"{package} {version}" for package, version in all_versions().items()))
    timings, resizes, encodings = [], [], []
    for size in megapixels or SIZES:
        for mode in ("RGB", "L"):
            picture = mosaic(*SIZES[size]).convert(mode)
            for kind in ("JPEG", "PNG"):
                timings += time_decoders(encode(picture, kind), kind, mode, size, repeats)
        resizes += time_resizes(encode(mosaic(*SIZES[size]), "JPEG"), size, repeats)
        encodings += time_encoders(mosaic(*SIZES[size]), size, repeats)
    show(timings, resizes, encodings)
    if json_file is not None:
        tables = {"decoders": timings, "resizes": resizes, "encoders": encodings}
        lists = {name: [asdict(row) for row in rows] for name, rows in tables.items()}
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(about | lists, indent=2) + "\n")


def show(timings: list[Timing], resizes: list[Resize], encodings: list[Encoding]) -> None:
    """Print the tables."""
    print(
        f"\n{'decoder':12}{'format':8}{'mode':6}{'MP':>5}{'decode ms':>11}{'ready ms':>10}  differs"
    )
    for t in timings:
        print(
            f"{t.decoder:12}{t.format:8}{t.mode:6}{t.megapixels:5g}{t.decode_ms:11.1f}"
            f"{t.ready_ms:10.1f}  {t.max_difference}"
        )
    print(f"\n{'resize of a colour JPEG':28}{'MP':>5}{'ready ms':>10}  differs by at most, in mean")
    for r in resizes:
        print(
            f"{r.way:28}{r.megapixels:5g}{r.ready_ms:10.1f}  {r.max_difference}, "
            f"{r.mean_difference:.2f}"
        )
    print(f"\n{'writing a colour picture':28}{'MP':>5}{'ms':>10}  megabytes")
    for e in encodings:
        print(f"{e.way:28}{e.megapixels:5g}{e.encode_ms:10.1f}  {e.bytes / 1e6:.2f}")


def all_versions() -> dict[str, str]:
    """Return the versions of the decoders and of Pillow's libraries."""
    packages = {"python": versions()["python"], "numpy": versions()["numpy"]}
    for package in ("pillow", "simplejpeg", "opencv-python-headless"):
        try:
            packages[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            packages[package] = "not installed"
    for feature in ("libjpeg_turbo", "zlib_ng"):
        packages[f"pillow's {feature}"] = str(features.version_feature(feature))
    return packages


def mosaic(width: int, height: int) -> Image.Image:
    """Return a photo-like picture: enlarged sample cells, slightly coloured, with noise."""
    cells = [Image.open(path).convert("L") for path in sorted(SAMPLES.glob("solar-*/*-*.png"))]
    side = -(-max(width, height) // TILES)
    picture = Image.new("L", (width, height))
    for number in range(TILES * TILES):
        tile = cells[number % len(cells)].resize((side, side), Image.Resampling.BICUBIC)
        picture.paste(tile, (side * (number % TILES), side * (number // TILES)))
    grey = np.asarray(picture, dtype=np.float32)[..., None]
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 3)).astype(np.float32)
    coloured = grey * np.array([1.0, 0.9, 0.8], dtype=np.float32) + noise
    return Image.fromarray(np.rint(coloured).clip(0, 255).astype(np.uint8))


def encode(picture: Image.Image, kind: str) -> bytes:
    """Return the file's bytes, written like a camera's software does."""
    encoded = BytesIO()
    picture.save(encoded, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return encoded.getvalue()


def with_pillow(content: bytes, mode: str) -> Image.Image:
    """Decode like the service and the trainer."""
    with Image.open(BytesIO(content)) as image:
        image.load()
        assert image.mode == mode
        return upright(image)


def decoders(kind: str) -> dict[str, Decoder]:
    """Return the installed decoders of the format, Pillow first."""
    installed: dict[str, Decoder] = {"pillow": with_pillow}
    if kind == "JPEG" and all_versions()["simplejpeg"] != "not installed":
        import simplejpeg  # noqa: PLC0415 - optional

        def with_simplejpeg(content: bytes, mode: str) -> Image.Image:
            values = simplejpeg.decode_jpeg(content, "GRAY" if mode == "L" else "RGB")
            return Image.fromarray(values.squeeze())

        installed["simplejpeg"] = with_simplejpeg
    if all_versions()["opencv-python-headless"] != "not installed":
        import cv2  # noqa: PLC0415

        cv2.setNumThreads(1)
        flags = {"L": cv2.IMREAD_GRAYSCALE, "RGB": cv2.IMREAD_COLOR_RGB}

        def with_opencv(content: bytes, mode: str) -> Image.Image:
            return Image.fromarray(cv2.imdecode(np.frombuffer(content, np.uint8), flags[mode]))

        installed["opencv"] = with_opencv
    return installed


def time_decoders(
    content: bytes, kind: str, mode: str, megapixels: float, repeats: int
) -> list[Timing]:
    """Time all decoders on one file, in turns."""
    functions = decoders(kind)
    reference = np.asarray(with_pillow(content, mode)).astype(np.int16)
    decode = {name: lambda f=f: f(content, mode) for name, f in functions.items()}
    ready = {
        name: lambda f=f: PREPROCESSING.to_array(f(content, mode)) for name, f in functions.items()
    }
    decode_ms, ready_ms = medians_ms(decode, repeats), medians_ms(ready, repeats)
    return [
        Timing(
            name,
            kind,
            mode,
            megapixels,
            decode_ms[name],
            ready_ms[name],
            int(np.abs(reference - np.asarray(functions[name](content, mode))).max()),
        )
        for name in functions
    ]


def time_resizes(content: bytes, megapixels: float, repeats: int) -> list[Resize]:
    """Time alternatives to decoding at full size and resizing bilinearly."""
    height, width = PREPROCESSING.image_size
    bilinear = Image.Resampling.BILINEAR

    def full_size(gap: float | None) -> Image.Image:
        return with_pillow(content, "RGB").resize((width, height), bilinear, reducing_gap=gap)

    def draft() -> Image.Image:
        with Image.open(BytesIO(content)) as image:
            image.draft("RGB", (2 * width, 2 * height))
            return image.resize((width, height), bilinear)

    ways: dict[str, Callable[[], Image.Image]] = {
        "bilinear (as trained)": lambda: full_size(None),
        "bilinear, reducing_gap=3": lambda: full_size(3.0),
        "bilinear, reducing_gap=2": lambda: full_size(2.0),
        "JPEG at reduced scale": draft,
    }
    times = medians_ms(ways, repeats)
    exact = np.asarray(full_size(None)).astype(np.int16)
    away = {name: np.abs(exact - np.asarray(way())) for name, way in ways.items()}
    return [
        Resize(name, megapixels, times[name], int(away[name].max()), float(away[name].mean()))
        for name in ways
    ]


def time_encoders(picture: Image.Image, megapixels: float, repeats: int) -> list[Encoding]:
    """Time the writing of a picture: PNG with the service's settings, and other ways."""

    def with_pillow(kind: str, **options: int) -> bytes:
        written = BytesIO()
        picture.save(written, kind, **options)
        return written.getvalue()

    ways: dict[str, Callable[[], bytes]] = {
        "pillow PNG level 1": lambda: with_pillow("PNG", compress_level=1),
        "  and run lengths (served)": lambda: with_pillow("PNG", compress_level=1, compress_type=3),
        "pillow JPEG quality 90": lambda: with_pillow("JPEG", quality=90),
    }
    if all_versions()["opencv-python-headless"] != "not installed":
        import cv2  # noqa: PLC0415 - optional

        values = np.asarray(picture)[:, :, ::-1].copy()
        level = [cv2.IMWRITE_PNG_COMPRESSION, 1]

        def with_opencv() -> bytes:
            return bytes(cv2.imencode(".png", values, level)[1])

        ways["opencv PNG level 1"] = with_opencv
    times = medians_ms(ways, repeats)
    return [Encoding(name, megapixels, times[name], len(way())) for name, way in ways.items()]


def medians_ms(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time all functions in turns, so that noise affects all of them."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            started = time.thread_time()
            work()
            taken[name].append(1000 * (time.thread_time() - started))
    return {name: float(np.median(times[1:])) for name, times in taken.items()}


if __name__ == "__main__":
    typer.run(main)
