"""Whether a station is quick, loses nothing, and stays flat.

    python -m benchmarks.station triggers --count 10000
    python -m benchmarks.station latency
    python -m benchmarks.station soak --minutes 30

`triggers`: two stations of one service get triggers of rough PLCs, while stations, service and
network are killed and cut; then the archive is compared with what the PLCs saw. Needs
`pip install 'mambaad-service[dev]'`.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.loading import CannotMeasure
from benchmarks.loading.claims import Verdict
from benchmarks.loading.results import counting_bar, described
from benchmarks.loading.subject import served_categories
from benchmarks.stationing.counting import MUST_BE_ZERO
from benchmarks.stationing.doors import DOORS
from benchmarks.stationing.flatness import report_flatness, run_soak
from benchmarks.stationing.latency import OWN_LIMIT_MS, TAKT_MS, measure
from benchmarks.stationing.site import Service, ended
from benchmarks.stationing.triggering import Outcome, Roughness, run_rough

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

_PACKAGES = ("mambaad-service", "pymodbus", "httpx", "torch", "numpy")
_UNLIMITED = 10**6
_SAMPLES = 200
"""How many of the samples a result file has, about."""

JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")]


@app.callback()
def commands() -> None:
    """Measure the station."""


@app.command()
def triggers(
    count: Annotated[int, typer.Option(min=2, help="Parts to trigger.")] = 10_000,
    seconds: Annotated[
        float | None, typer.Option(min=5, help="Trigger for so long instead.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    station_kill_s: Annotated[
        float, typer.Option(help="Mean seconds between two kills of a station.")
    ] = 20.0,
    service_kill_s: Annotated[
        float, typer.Option(help="Mean seconds between two kills of the service.")
    ] = 60.0,
    json_file: JsonFile = None,
) -> None:
    """Trigger parts while everything fails, and count what is wrong: nothing may be."""
    roughness = Roughness(seed, station_kill_s, service_kill_s)
    total = count if seconds is None else None
    with (
        tempfile.TemporaryDirectory(prefix="mambaad-station-") as folder,
        counting_bar() as progress,
    ):
        task = progress.add_task("results", total=total)
        parts = count if seconds is None else _UNLIMITED
        outcome = asyncio.run(
            run_rough(
                Path(folder), parts, seconds, roughness,
                lambda results: progress.update(task, completed=results),
            )
        )  # fmt: skip
    report(outcome)
    if json_file is not None:
        values = {"seed": seed, "holds": outcome.count.holds, "faults": outcome.faults}
        values |= {"seconds": round(outcome.seconds, 1), **outcome.count.as_json()}
        _write(json_file, "triggers", values)
    raise typer.Exit(0 if outcome.count.holds else 1)


@app.command()
def latency(
    door: Annotated[str, typer.Option(help=f"One of {', '.join(DOORS)}.")] = "modbus",
    parts: Annotated[int, typer.Option(min=20, help="Parts to trigger, one by one.")] = 1_000,
    weights: Annotated[Path, typer.Option(help="The store to serve.")] = Path("weights"),
    images: Annotated[Path, typer.Option(help="Images, as <category>/<image>.")] = Path("samples"),
    json_file: JsonFile = None,
) -> None:
    """Time the trigger until the result's registers are valid, with the service and without."""
    if door not in DOORS:
        raise CannotMeasure(f"no door {door!r}; there are {', '.join(DOORS)}")
    with tempfile.TemporaryDirectory(prefix="mambaad-station-") as folder:
        service = Service(Path(folder), weights.resolve(), {})
        with ended([service]):
            service.start()
            category = served_categories(service.url, {})[0]
            measured = asyncio.run(
                measure(Path(folder), service.url, category, images, door, parts)
            )
    own, whole = measured["own_ms"], measured["end_to_end_ms"]
    verdict = Verdict(
        f"{door}: trigger seen to result valid, without the service: p99 under {OWN_LIMIT_MS:g} ms",
        own["p99"] <= OWN_LIMIT_MS,
        own["p99"],
        OWN_LIMIT_MS,
        f"p50 {own['p50']}, p95 {own['p95']}, p99 {own['p99']} ms of {measured['parts']} parts",
    )
    print(verdict.text())
    print(
        f"with the service: p50 {whole['p50']}, p95 {whole['p95']}, p99 {whole['p99']} ms; ", end=""
    )
    print(f"{100 * measured['within_takt']:.1f} % within {TAKT_MS:g} ms")
    if json_file is not None:
        _write(json_file, "latency", measured | {"category": category, "holds": verdict.holds})
    raise typer.Exit(0 if verdict.holds else 1)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.5, help="Length of the soak.")] = 30.0,
    json_file: JsonFile = None,
) -> None:
    """Run two stations of one service at full speed: memory, files and threads must stay flat."""
    with tempfile.TemporaryDirectory(prefix="mambaad-station-") as folder:
        rows, counted, samples = asyncio.run(run_soak(Path(folder), 60 * minutes))
    holds = report_flatness(rows) and counted.holds
    print(f"{counted.results} results, verdicts: {_listed(counted.verdicts)}")
    for example in counted.examples:
        print(f"WRONG: {example}")
    print("HOLDS" if holds else "DOES NOT HOLD")
    if json_file is not None:
        values = {"minutes": minutes, "holds": holds, "flatness": rows, **counted.as_json()}
        every = max(1, len(samples) // _SAMPLES)
        _write(json_file, "soak", values | {"samples": samples[::every]})
    raise typer.Exit(0 if holds else 1)


def report(outcome: Outcome) -> None:
    """Print the count."""
    counted = outcome.count
    print(
        f"{counted.triggers} triggers, {counted.taken} parts taken, {counted.results} results, "
        f"{counted.archived} archived"
    )
    print(f"verdicts: {_listed(counted.verdicts)}")
    print(f"reasons:  {_listed(counted.reasons)}")
    print(f"faults in {outcome.seconds:.0f} s: {_listed(outcome.faults)}")
    for kind, number in counted.wrong.items():
        print(f"{number:6}  {MUST_BE_ZERO[kind]}")
    for example in counted.examples:
        print(f"WRONG: {example}")
    print("HOLDS" if counted.holds else "DOES NOT HOLD")


def _listed(numbers: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items())) or "none"


def _write(file: Path, name: str, values: dict[str, Any]) -> None:
    result = described("station", _PACKAGES) | {"measures": name} | values
    file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        app()
    except CannotMeasure as error:
        sys.exit(f"station: {error}")
