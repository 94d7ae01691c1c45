"""Measures the ceiling of one front process: the processor time of a request without the network.

    python -m benchmarks.front --json benchmarks/results/front-cpu.json
    python -m benchmarks.front --against ../before --kind raw

Services whose workers answer at once, with findings that the shipped checkpoint gave before, run
beside each other: with the archive and without it, and with `--against` those of another checkout.
Clients in this process post to each of them in turn, in the order A B B A. Published is the
processor time of the front process (`getrusage`: all its threads) for an image, the median of the
rounds, and the median of the rounds' ratios to the first service. `decode` is the part of it that
Pillow and NumPy take to decode and frame the image. A real front also copies images to its workers
and reads their answers, which is not in these figures.

With `--against`, the answers, the log and the archive of both checkouts must also be the same, ids
and times apart.
"""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmarks.cpu import commit
from benchmarks.fronting.comparing import compare
from benchmarks.fronting.fronts import Cost, Front, Variant, front
from benchmarks.fronting.postings import Posting, postings
from benchmarks.fronting.recording import record
from benchmarks.loading.results import described

ROOT = Path(__file__).parents[1]
GOOD, DEFECTIVE = "solar-mono", "solar-poly"
SAMPLES = {GOOD: "good-1.png", DEFECTIVE: "defective-1.png"}
IMAGES_PER_RUN = 400
_PACKAGES = ("mambaad-service", "fastapi", "starlette", "pydantic", "uvicorn", "pillow")


def measure(
    fronts: Mapping[str, Front], posting: Posting, rounds: int, images: int
) -> dict[str, Any]:
    """Post to every front in turn, back and forth; return the medians."""
    requests = max(posting.connections, images // posting.images)
    costs: dict[str, list[Cost]] = {name: [] for name in fronts}
    for number in range(rounds):
        for name in list(fronts) if number % 2 == 0 else reversed(fronts):
            costs[name].append(fronts[name].measure(posting, requests))
    first = next(iter(costs.values()))
    return {
        "request": posting.name,
        "images": posting.images,
        "connections": posting.connections,
        "fronts": {name: summary(of_front, first) for name, of_front in costs.items()},
    }


def summary(costs: Sequence[Cost], first: Sequence[Cost]) -> dict[str, Any]:
    """Return the medians of a front's rounds, and of their ratios to the first front's."""
    each = [cost.cpu_ms_per_image for cost in costs]
    first_ms = [cost.cpu_ms_per_image for cost in first]
    return {
        "cpu_ms_per_image": round(median(each), 3),
        "least_ms": round(min(each), 3),
        "of_first": round(median(a / b for a, b in zip(each, first_ms, strict=True)), 3),
        "system_share": round(median(cost.system_share for cost in costs), 2),
        "images_per_s": round(median(cost.images_per_s for cost in costs)),
        "rounds_ms": [round(ms, 3) for ms in each],
    }  # fmt: skip


def variants(against: Path | None, *, archives: Sequence[bool]) -> list[Variant]:
    """Return the services to measure, this checkout's last."""
    checkouts = {"": ROOT} if against is None else {"before": against.resolve(), "after": ROOT}
    return [
        Variant(f"{name} {'with' if has else 'without'} archive".strip(), root, has)
        for has in archives
        for name, root in checkouts.items()
    ]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each service.")] = 9,
    images: Annotated[int, typer.Option(min=32, help="Images of a run.")] = IMAGES_PER_RUN,
    kind: Annotated[str, typer.Option(help="Measure requests whose name has this text.")] = "",
    against: Annotated[Path | None, typer.Option(help="Another checkout, to compare with.")] = None,
    weights: Annotated[Path, typer.Option(help="The store to serve.")] = Path("weights"),
    samples: Annotated[Path, typer.Option(help="Images, as <category>/<image>.")] = Path("samples"),
    archive: Annotated[str, typer.Option(help="on, off or both.")] = "both",
    note: Annotated[str, typer.Option(help="Said in the results: what ran beside it.")] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Measure every kind of request, print a table, and write the results."""
    about = described("front", _PACKAGES)
    contents = {name: (samples / name / file).read_bytes() for name, file in SAMPLES.items()}
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mambaad-front-")))
        record(weights, contents, folder / "findings")
        archives = {"on": [True], "off": [False], "both": [False, True]}[archive]
        chosen = variants(against, archives=archives)
        store = weights.resolve()
        fronts = {
            variant.name: stack.enter_context(front(variant, store, folder / "findings"))
            for variant in chosen
        }
        if against is not None:
            each = list(fronts.values())
            for before, after in zip(each[::2], each[1::2], strict=True):
                print(f"{compare(before, after, contents)} requests: the same answers", flush=True)
        decode_ms = median(next(iter(fronts.values())).decoding_ms(GOOD) for _ in range(5))
        for posting in postings(GOOD, DEFECTIVE, contents):
            if kind in posting.name:
                results.append(measure(fronts, posting, rounds, images))
                _print(results[-1])
    print(f"decoding and framing one image: {decode_ms:.3f} ms")
    if json_file is not None:
        result = about | {
            "command": shlex.join(["python", "-m", "benchmarks.front", *sys.argv[1:]]),
            "commit": commit(),
            "load_average_after": os.getloadavg(),
            "note": note,
            "image_bytes": {name: len(content) for name, content in contents.items()},
            "decode_ms": round(decode_ms, 3),
            "results": results,
        }
        json_file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def _print(result: Mapping[str, Any]) -> None:
    for name, figures in result["fronts"].items():
        print(
            f"{result['request']:<28}{name:<24}{figures['cpu_ms_per_image']:7.3f} ms an image "
            f"(least {figures['least_ms']:.3f}), {figures['of_first']:.3f} of the first, "
            f"{figures['images_per_s']} images/s",
            flush=True,
        )


if __name__ == "__main__":
    typer.run(main)
