"""Whether the console is quick with a large archive, and costs the line nothing.

    python -m benchmarks.console pages
    python -m benchmarks.console live
    python -m benchmarks.console detect

`pages` asks a service with a million inspections for every page. `live` times a part from its
answer to ten clients of Live's stream, and to the screen of a Chromium. `detect` posts parts with
and without those watchers, in turn. Needs `pip install 'mambaad-service[dev]'` and Chromium.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from PIL import Image

from benchmarks.archiving.rows import NODE, Made
from benchmarks.consoling import pages as console_pages
from benchmarks.consoling.line import Posted, post
from benchmarks.consoling.pages import LIMIT_MS, as_json, percentiles
from benchmarks.consoling.screen import screen
from benchmarks.consoling.streams import Seen, streaming
from benchmarks.loading import CannotMeasure
from benchmarks.loading.claims import Verdict
from benchmarks.loading.results import counting_bar, described
from benchmarks.stationing.site import Service, ended, tell
from benchmarks.stationing.store import CATEGORY, write_store

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

SCREEN_LIMIT_MS = 1000.0
CLIENTS = 10
_PACKAGES = ("mambaad-service", "sqlalchemy", "jinja2", "uvicorn", "selenium", "httpx")
_SIDE = 300
_IMAGES = 20

JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")]
Rate = Annotated[float, typer.Option(min=0.5, help="Parts a second.")]
Weights = Annotated[
    Path | None,
    typer.Option(help="The store to serve, and its first category; by default a small network."),
]


@app.callback()
def commands() -> None:
    """Measure the console."""


@app.command()
def pages(
    rows: Annotated[int, typer.Option(min=1000, help="Inspections in the archive.")] = 1_000_000,
    days: Annotated[float, typer.Option(help="Days that the inspections are spread over.")] = 365.0,
    repeats: Annotated[int, typer.Option(min=20, help="How often each page is asked for.")] = 60,
    weights: Annotated[Path, typer.Option(help="The store to serve.")] = Path("weights"),
    samples: Annotated[Path, typer.Option(help="Images, as <category>/<image>.")] = Path("samples"),
    json_file: JsonFile = None,
) -> None:
    """Time every page of a service with a large archive."""
    with tempfile.TemporaryDirectory(prefix="mambaad-console-") as temporary:
        folder, made = Path(temporary), Made(rows, days)
        image = _noise(0)
        console_pages.fill(folder / "state", made, image, (_SIDE, _SIDE), tell)
        key = console_pages.write_keys(folder / "keys.json")
        settings = {
            "access__api_keys_file": folder / "keys.json", "archive__node": NODE,
            "console__samples_dir": samples.resolve(),
        }  # fmt: skip
        service = Service(folder, weights.resolve(), settings)
        with ended([service]):
            service.start()
            with httpx.Client(base_url=service.url, timeout=60) as client:
                console_pages.sign_in(client, key)
                found = console_pages.addresses(client, weights, samples, made)
                with _progress("rounds", repeats) as step:
                    times, refused = console_pages.measure(client, found, repeats, step)
    verdicts = [
        Verdict(
            f"{name}: p95 under {LIMIT_MS:g} ms", of.p95_ms < LIMIT_MS and not of.refused,
            of.p95_ms, LIMIT_MS,
            f"p50 {of.p50_ms}, p95 {of.p95_ms}, p99 {of.p99_ms} ms of {of.repeats}; "
            f"{of.refused} refused",
        )
        for name, of in times.items()
    ]  # fmt: skip
    for name, of in times.items():
        print(f"{name:<52} p50 {of.p50_ms:7.1f}  p95 {of.p95_ms:7.1f}  p99 {of.p99_ms:7.1f} ms")
    for name, why in refused.items():
        print(f"{name:<52} not measured: {why}")
    print(f"{sum(one.holds for one in verdicts)} of {len(verdicts)} under {LIMIT_MS:g} ms")
    values = {"rows": rows, "days": days, "pages": as_json(times), "not_measured": refused}
    _finish("pages", values, verdicts, json_file)


@app.command()
def live(
    per_s: Rate = 20.0,
    seconds: Annotated[float, typer.Option(min=5, help="How long parts are posted.")] = 120.0,
    clients: Annotated[int, typer.Option(min=1, help="Clients of the stream.")] = CLIENTS,
    weights: Weights = None,
    json_file: JsonFile = None,
) -> None:
    """Time each part from its answer to the streams and to the screen."""
    with _line(weights) as (service, category), screen(service.url) as chromium:
        images = [_noise(seed) for seed in range(_IMAGES)]
        post(service.url, images, category, per_s=per_s, seconds=3.0)  # warms up
        with streaming(service.url, clients) as streamed:
            chromium.show()
            with _progress("parts", round(per_s * seconds)) as step:
                posted = post(
                    service.url, images, category, per_s=per_s, seconds=seconds, tell=step
                )
        painted = chromium.seen()
        chromium.leave()
    of_streams = _delays(posted, streamed)
    of_screen = _delays(posted, [painted])
    verdicts = [
        _judged("a part is on the stream", of_streams),
        _judged("a part is on the screen", of_screen),
    ]
    values = {
        "per_s": per_s, "seconds": seconds, "clients": clients, "network": _network(weights),
        "parts": len(posted.answered_at), "failures": posted.failures,
        "stream": of_streams, "screen": of_screen, "detect_ms": _of(posted.latencies_ms),
    }  # fmt: skip
    _finish("live", values, verdicts, json_file)


@app.command()
def detect(
    per_s: Rate = 10.0,
    seconds: Annotated[float, typer.Option(min=2, help="Length of a round.")] = 20.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds with watchers, and without.")] = 8,
    clients: Annotated[int, typer.Option(min=1, help="Clients of the stream.")] = CLIENTS,
    weights: Weights = None,
    json_file: JsonFile = None,
) -> None:
    """Time `/detect` with the watchers of Live and without, in turn."""
    taken: dict[str, list[list[float]]] = {"watched": [], "alone": []}
    failures = 0
    with _line(weights) as (service, category), screen(service.url) as chromium:
        images = [_noise(seed) for seed in range(_IMAGES)]
        post(service.url, images, category, per_s=per_s, seconds=3.0)  # warms up
        with _progress("rounds", 2 * rounds) as step:
            for number in range(rounds):
                kinds = ["watched", "alone"]
                for kind in kinds if number % 2 else reversed(kinds):
                    with ExitStack() as stack:
                        if kind == "watched":
                            stack.enter_context(streaming(service.url, clients))
                            stack.callback(chromium.leave)
                            chromium.show()
                        posted = post(service.url, images, category, per_s=per_s, seconds=seconds)
                    taken[kind].append(posted.latencies_ms)
                    failures += posted.failures
                    step()
    added = median(
        median(watched) - median(alone)
        for watched, alone in zip(taken["watched"], taken["alone"], strict=True)
    )
    figures = {kind: _of([ms for one in runs for ms in one]) for kind, runs in taken.items()}
    for kind, of in figures.items():
        print(
            f"{kind:<8} p50 {of['p50_ms']:6.1f}  p95 {of['p95_ms']:6.1f}  p99 {of['p99_ms']:6.1f}"
        )
    print(f"watched: {added:+.1f} ms, the median of {rounds} paired differences of medians")
    values = {
        "per_s": per_s, "seconds": seconds, "rounds": rounds, "clients": clients,
        "network": _network(weights), "failures": failures, "added_ms": round(added, 2),
        "medians_ms": {k: [round(median(one), 1) for one in runs] for k, runs in taken.items()},
        **figures,
    }  # fmt: skip
    _finish("detect", values, [], json_file)


@contextmanager
def _line(weights: Path | None) -> Iterator[tuple[Service, str]]:
    """Start a service; yields it and the category to post."""
    with tempfile.TemporaryDirectory(prefix="mambaad-console-") as temporary:
        folder = Path(temporary)
        if weights is None:
            tell("writing a small network")
            write_store(folder)
        store = weights.resolve() if weights else folder / "weights"
        service = Service(folder, store, {"archive__keep_images": "OK=1,NG=1"})
        with ended([service]):
            service.start()
            categories = httpx.get(f"{service.url}/categories").json()["categories"]
            yield service, CATEGORY if weights is None else categories[0]["category"]


def _delays(posted: Posted, seen: list[Seen]) -> dict[str, float]:
    """Return milliseconds from the answers, over all who saw them, and how often one was unseen."""
    delays = [
        1000 * (of_one[part] - answered)
        for of_one in seen
        for part, answered in posted.answered_at.items()
        if part in of_one
    ]
    if not delays:
        raise CannotMeasure("no part was seen")
    return _of(delays) | {"unseen": len(seen) * len(posted.answered_at) - len(delays)}


def _of(values: list[float]) -> dict[str, float]:
    return dict(zip(("p50_ms", "p95_ms", "p99_ms"), percentiles(values), strict=True))


def _judged(what: str, delays: dict[str, float]) -> Verdict:
    return Verdict(
        f"{what} within {SCREEN_LIMIT_MS:g} ms of its answer: p95, and none is left out",
        delays["p95_ms"] < SCREEN_LIMIT_MS and not delays["unseen"],
        delays["p95_ms"],
        SCREEN_LIMIT_MS,
        f"p50 {delays['p50_ms']}, p95 {delays['p95_ms']}, p99 {delays['p99_ms']} ms; "
        f"unseen {delays['unseen']}",
    )


def _network(weights: Path | None) -> str:
    return "a small one with random weights" if weights is None else weights.name


def _noise(seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (_SIDE // 4, _SIDE // 4), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(values).resize((_SIDE, _SIDE)).convert("RGB").save(content, "JPEG")
    return content.getvalue()


@contextmanager
def _progress(what: str, total: int) -> Iterator[Any]:
    with counting_bar() as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _finish(
    name: str, values: dict[str, Any], verdicts: list[Verdict], json_file: Path | None
) -> None:
    for verdict in verdicts:
        if name != "pages" or not verdict.holds:
            print(verdict.text())
    told = values | {"verdicts": [asdict(verdict) for verdict in verdicts]}
    result = described("console", _PACKAGES) | {"measures": name} | told
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    raise typer.Exit(0 if all(verdict.holds for verdict in verdicts) else 1)


if __name__ == "__main__":
    if shutil.which("chromium") is None and sys.argv[1:2] != ["pages"]:
        sys.exit("console: no chromium in the PATH")
    try:
        app()
    except CannotMeasure as error:
        sys.exit(f"console: {error}")
