"""Measures what TLS costs: /detect with and without it on loopback, on kept connections.

    python -m benchmarks.tls --json benchmarks/results/tls-cpu.json

Two services with the shipped checkpoint run beside each other. Each image is sent to both, one
after the other, in changing order; the published difference is the median of the pairs.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated

import httpx
import typer

from model.benchmark import device_name, versions
from service.client.trust import trust

ROOT = Path(__file__).parents[1]
IMAGE = ROOT / "samples" / "solar-mono" / "good-1.png"
_READY = "Ready on "
_MAKE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 1 "
    "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
)


@contextmanager
def service(weights: Path, **environment: str) -> Iterator[str]:
    """Serve without an archive; yield the address."""
    command = [sys.executable, "-c", "from service.cli.main import main; main()", "serve"]
    with subprocess.Popen(
        [*command, "--port", "0", "--weights", str(weights), "--threads", "1"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            (line,) = (line for line in _until_ready(process.stdout))
            yield line.removeprefix(_READY).split()[0]
        finally:
            process.terminate()


def _until_ready(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith(_READY):
            yield line
            return


def main(
    pairs: Annotated[int, typer.Option(min=10, help="Images sent to both services.")] = 400,
    weights: Annotated[Path, typer.Option(help="Checkpoint store.")] = ROOT / "weights",
    output: Annotated[Path | None, typer.Option("--json", help="File of the results.")] = None,
) -> None:
    """Measure, print, and write the results."""
    image = IMAGE.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(_MAKE.split(), cwd=folder, check=True, capture_output=True)
        files = {"CERTIFICATE": f"{folder}/cert.pem", "KEY": f"{folder}/key.pem"}
        tls = {f"MAMBAAD_HTTP__TLS_{name}": file for name, file in files.items()}
        with (
            service(weights) as plain,
            service(weights, **tls) as encrypted,
            httpx.Client(base_url=plain, timeout=60) as without,
            httpx.Client(
                base_url=encrypted, timeout=60, verify=trust(files["CERTIFICATE"])
            ) as over,
        ):
            times = _measure(without, over, image, pairs)
    differences = [b - a for a, b in zip(*times, strict=True)]
    results = {
        "pairs": pairs,
        "image_bytes": len(image),
        "plain_ms": _summary(times[0]),
        "tls_ms": _summary(times[1]),
        "median_difference_ms": round(median(differences), 3),
        "device": device_name("cpu"),
        "versions": versions(),
    }
    typer.echo(json.dumps(results, indent=2))
    if output is not None:
        output.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def _measure(
    without: httpx.Client, over: httpx.Client, image: bytes, pairs: int
) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each request; the first ten pairs do not count."""
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs + 10):
        for place in (0, 1) if pair % 2 else (1, 0):
            started = time.perf_counter()
            answer = (without, over)[place].post(
                "/detect", params={"category": "solar-mono"}, content=image
            )
            times[place].append(1000 * (time.perf_counter() - started))
            answer.raise_for_status()
    return times[0][10:], times[1][10:]


def _summary(times: list[float]) -> dict[str, float]:
    return {"p50": round(median(times), 2), "p99": round(quantiles(times, n=100)[98], 2)}


if __name__ == "__main__":
    typer.run(main)
