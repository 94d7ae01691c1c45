"""Starts a service to measure, on a temporary copy of a store with any number of categories."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.loading import CannotMeasure
from model.checkpoints.files import parse_weights, read_verified, serialise, sha256
from model.checkpoints.manifest import (
    BASELINES_FILE,
    ENCODERS,
    GOLDEN_FILE,
    MANIFEST_FILE,
    Manifest,
)
from model.images.preprocess import Preprocessing
from model.scoring.baselines import from_arrays, to_arrays
from model.scoring.scores import Scoring

ROOT = Path(__file__).parents[2]
MAMBAAD = (sys.executable, "-c", "from service.cli.main import main; main()")
"""The command line, independent of the PATH."""
_READY = "Ready on "
_STOP_S = 60.0


def copy_store(source: Path, target: Path, checkpoints: int, categories: int) -> None:
    """Copy the first checkpoint in `source` several times, with `categories` categories in total.

    Weights are linked or copied. Every copy has its own name and categories, `<category>-<number>`,
    with the calibration and baseline of their original.
    """
    if not 1 <= checkpoints <= categories:
        raise CannotMeasure(
            f"expected 1 <= checkpoints <= categories, got {checkpoints} and {categories}"
        )
    manifests = sorted(source.glob(f"*/*/{MANIFEST_FILE}"))
    if not manifests:
        raise CannotMeasure(f"no checkpoint in {source}")
    directory = manifests[0].parent
    manifest = Manifest.read(directory)
    shutil.copytree(source / ENCODERS, target / ENCODERS, copy_function=_link)
    shares = [len(range(n, categories, checkpoints)) for n in range(checkpoints)]
    first = 0
    for number, share in enumerate(shares):
        origins = {
            n: manifest.categories[n % len(manifest.categories)]
            for n in range(first, first + share)
        }
        names = {f"{origin}-{n}": origin for n, origin in origins.items()}
        _copy_checkpoint(directory, manifest, target, f"{manifest.name}-{number}", names)
        first += share


def _copy_checkpoint(
    source: Path, manifest: Manifest, target: Path, name: str, categories: dict[str, str]
) -> None:
    """Write a checkpoint under another name; `categories` maps new names to original ones."""
    directory = target / name / manifest.version
    directory.mkdir(parents=True)
    values = manifest.model_dump()
    values |= {"name": name, "golden": {}}
    values["calibrations"] = {new: values["calibrations"][old] for new, old in categories.items()}
    values["sha256"] = {k: v for k, v in manifest.sha256.items() if k != GOLDEN_FILE}
    if BASELINES_FILE in manifest.sha256:
        path = source / BASELINES_FILE
        content = read_verified(path, manifest.sha256[BASELINES_FILE], path.stat().st_size)
        stored = parse_weights(path, content)
        scoring = Scoring.from_dict(manifest.scoring)
        size = Preprocessing.from_dict(manifest.preprocessing).image_size
        baselines = from_arrays(stored, scoring, size)
        copied = to_arrays({new: baselines[old] for new, old in categories.items()})
        data = serialise("baselines", copied)
        (directory / BASELINES_FILE).write_bytes(data)
        values["sha256"][BASELINES_FILE] = sha256(data)
    for file in values["sha256"]:
        if (source / file).is_file() and file != BASELINES_FILE:
            _link(source / file, directory / file)
    (directory / MANIFEST_FILE).write_text(Manifest.from_values(values).to_json(), "utf-8")


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copyfile(source, target)


@contextmanager
def started(
    weights: Path, checkpoints: int, categories: int, options: Sequence[str] = ()
) -> Iterator[str]:
    """Serve a copy of a store on a free port during the block; yields the URL.

    `options` are those of `mambaad serve`. Raises `CannotMeasure`.
    """
    with tempfile.TemporaryDirectory(prefix="mambaad-load-") as folder:
        store = Path(folder) / "weights"
        copy_store(weights, store, checkpoints, categories)
        with serving(store, options) as address:
            yield address


@contextmanager
def serving(
    store: Path, options: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Like `started`, but serves the store itself; the log is written beside it.

    `variables` are added to the environment.
    """
    log = store.parent / "service.log"
    command = [*MAMBAAD, "serve", "--port", "0", "--weights", str(store)]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env=os.environ | dict(variables or {}),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as server,
    ):
        try:
            yield _url_of(server, log)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()


def _url_of(server: "subprocess.Popen[str]", log: Path) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(_READY):
            return line.removeprefix(_READY).split()[0]
    raise CannotMeasure(f"the service ended before it was ready:\n{log.read_text()[-2000:]}")
