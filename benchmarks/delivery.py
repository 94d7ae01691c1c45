"""Whether every result arrives, though every receiver fails for minutes and the service is killed.

    python -m benchmarks.delivery --minutes 10

A line posts 20 parts a second to a service that delivers to a broker, a webhook, a folder and a
database. First all is well. Then broker and database are away, the webhook answers 500, hangs and
cuts, the service is killed with SIGKILL, and the database is started and killed, all within
`--minutes`. Then all is well again, and parts still come while the backlog is sent. Holds if every
answered part has arrived everywhere with the decision that the line was told, and first in the
order of the journal for each station. Needs `pip install 'mambaad-service[dev]'`, mosquitto and
PostgreSQL.
"""

import json
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.delivering.count import count, holds, latencies
from benchmarks.delivering.line import Line
from benchmarks.delivering.outage import drain, run_outage
from benchmarks.delivering.site import Site, site
from benchmarks.loading import CannotMeasure
from benchmarks.loading.subject import about, read_bodies, served_categories

_LONGEST_DRAIN_S = 900.0


def measure(made: Site, images: Path, parts_per_s: float, minutes: float) -> dict[str, Any]:
    """Run the line through the outage; return what was measured."""
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {text}", flush=True)

    url = made.service.url
    bodies = read_bodies(images, served_categories(url, {}))
    line = Line(url, [(name, body) for name in bodies for body in bodies[name]], parts_per_s)
    calm_s = max(10.0, 6.0 * minutes)
    with line.posting():
        time.sleep(calm_s)
        outage_at = time.monotonic()
        run_outage(made, 60 * minutes, say)
        repaired_at = time.monotonic()
        drained = drain(made, _LONGEST_DRAIN_S)
        drained_at = time.monotonic()
        say(f"the backlog is delivered after, in s: {drained}")
    _await_rest(made)
    answers = list(line.answers.values())
    phases = {
        "calm": latencies([a for a in answers if a.posted_at < outage_at]),
        "outage": latencies([a for a in answers if outage_at <= a.posted_at < repaired_at]),
        "backlog": latencies([a for a in answers if repaired_at <= a.posted_at < drained_at]),
    }
    posted = sum(outage_at <= answer.posted_at < repaired_at for answer in answers)
    return {
        "posted_in_outage": posted,
        "drained_after_s": drained,
        "sinks": count(made, line),
        "latency": phases,
    }


def _await_rest(made: Site) -> None:
    """Wait for the last results; the folder's file is closed with the service."""
    until = time.monotonic() + _LONGEST_DRAIN_S
    while any(sink["depth"] for sink in made.service.deliveries().values()):
        if time.monotonic() > until:
            return
        time.sleep(0.2)
    made.service.end(15)
    time.sleep(2.0)  # what the broker has still to hand on


def report(measured: dict[str, Any]) -> bool:
    """Print the result; return whether it holds."""
    print(f"{measured['posted_in_outage']} parts were posted in the outage")
    print(f"{'':10}{'answered':>10}{'delivered':>10}{'missing':>9}{'differs':>9}", end="")
    print(f"{'repeats':>9}{'out of order':>14}{'backlog sent in':>17}")
    for name, of_sink in measured["sinks"].items():
        cells = [of_sink[key] for key in ("answered", "delivered", "missing", "differs")]
        print(f"{name:10}{cells[0]:10}{cells[1]:10}{cells[2]:9}{cells[3]:9}", end="")
        seconds = measured["drained_after_s"].get(name)
        print(f"{of_sink['repeats']:9}{of_sink['out_of_order']:14}{seconds or '-':>15} s")
    for name, of_phase in measured["latency"].items():
        print(f"an answer, {name}: {of_phase}")
    is_held = holds(measured["sinks"], measured["drained_after_s"])
    print("HOLDS" if is_held else "DOES NOT HOLD")
    return is_held


def main(
    minutes: Annotated[float, typer.Option(min=0.5, help="Length of the outage.")] = 10.0,
    parts_per_s: Annotated[float, typer.Option(min=0.1, help="Parts a second.")] = 20.0,
    weights: Annotated[Path, typer.Option(help="The store to serve.")] = Path("weights"),
    images: Annotated[Path, typer.Option(help="Images, as <category>/<image>.")] = Path("samples"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Post parts while every receiver fails, and count what arrives."""
    with tempfile.TemporaryDirectory(prefix="mambaad-delivery-") as folder:
        with site(Path(folder), weights.resolve()) as made:
            described = about(made.service.url)
            measured = measure(made, images, parts_per_s, minutes)
        log = made.service.log.read_text("utf-8")
    measured["tracebacks"] = log.count("Traceback")
    is_held = report(measured) and not measured["tracebacks"]
    if measured["tracebacks"]:
        print(f"the log has tracebacks:\n{log[-4000:]}")
    if json_file is not None:
        command = shlex.join(["python", "-m", "benchmarks.delivery", *sys.argv[1:]])
        result = {**described, "command": command, "minutes": minutes, "holds": is_held}
        json_file.write_text(json.dumps({**result, **measured}, indent=2) + "\n", "utf-8")
    raise typer.Exit(0 if is_held else 1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except CannotMeasure as error:
        sys.exit(f"delivery: {error}")
