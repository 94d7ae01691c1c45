"""Serves with an image, inspects samples, and stops it; each failing step reports its evidence."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from docker.image_check.programs import CheckFailed, run
from docker.image_check.sandbox import Sandbox, processes_inside

ROOT = Path(__file__).parents[2]
CHECKPOINT = "solar"
CATEGORY = "solar-mono"
SAMPLES = {"good-1.png": "OK", "defective-1.png": "NG"}
URL = "http://127.0.0.1:8000"  # the port in the image's command
START_S = 300.0
TRY_TO_WRITE = """
import pathlib, sys
for folder in sys.argv[1:]:
    try:
        (pathlib.Path(folder).expanduser() / "written").write_text("x")
        print("written", folder)
    except OSError as error:
        print(error.strerror, folder)
"""


@dataclass(frozen=True)
class Answer:
    """The decision about a sample."""

    decision: str
    score: float


def mambaad(*arguments: str | Path) -> str:
    """Run the command line of this checkout, outside any image."""
    program = "from service.cli.main import main; main()"
    return run(sys.executable, "-c", program, *arguments, folder=ROOT)


def predict_command(samples: str, weights: str) -> list[str]:
    """Return the arguments of `mambaad` that inspect the samples without a service."""
    files = [f"{samples}/{CATEGORY}/{name}" for name in SAMPLES]
    return [
        *("predict", CHECKPOINT, *files),
        *("--category", CATEGORY, "--json", "--weights", weights),
    ]


def read_predictions(output: str) -> dict[str, Answer]:
    """Read the lines of `mambaad predict --json`, by the sample's name."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"image"')]
    return {Path(line["image"]).name: Answer(line["decision"], line["score"]) for line in lines}


def check_read_only(sandbox: Sandbox) -> None:
    """Check that volumes and /tmp are writable, and the user's home is not."""
    writable = [volume.inside for volume in sandbox.volumes if volume.writable]
    folders = [*writable, "/tmp", "~", sandbox.image.folder]
    outcomes = sandbox.run("python", "-c", TRY_TO_WRITE, *folders).splitlines()
    expected = [f"written {folder}" for folder in folders[:-2]]
    expected += [f"Read-only file system {folder}" for folder in folders[-2:]]
    if outcomes != expected:
        raise CheckFailed(f"expected {expected} from writing here and there, got {outcomes}")


@contextmanager
def serving(sandbox: Sandbox, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the image's command and wait until it is ready."""
    with sandbox.start(*sandbox.image.command, output=log) as server:
        wait_until_ready(server, log)
        yield server


def wait_until_ready(server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for readiness. Raises `CheckFailed` if the service ends or takes too long."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.poll() is not None:
            raise CheckFailed(f"the service ended with {server.returncode}:\n{tail(log)}")
        try:
            if httpx.get(f"{URL}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise CheckFailed(f"not ready after {START_S:.0f} s:\n{tail(log)}")


def check_answers(expected: dict[str, Answer], tolerance: float) -> None:
    """Post the samples, and compare decisions and scores with those from outside the image."""
    answers = {}
    for name, decision in SAMPLES.items():
        content = (ROOT / "samples" / CATEGORY / name).read_bytes()
        form = {"category": CATEGORY, "origin": "test"}
        answer = httpx.post(
            f"{URL}/detect",
            data=form,
            files={"file": (name, content)},
            timeout=60,
            trust_env=False,  # no proxy leads into this network
        )
        if answer.status_code != httpx.codes.OK:
            raise CheckFailed(f"{name}: {answer.status_code} {answer.text[:1000]}")
        (result,) = answer.json()["results"]
        answers[name] = Answer(result["decision"], result["score"])
        if answers[name].decision != decision:
            raise CheckFailed(f"{name}: expected {decision}, got {answers[name]}")
    compare(answers, expected, tolerance)


def compare(answers: dict[str, Answer], expected: dict[str, Answer], tolerance: float) -> None:
    """Raise `CheckFailed` unless all decisions are equal and all scores within the tolerance."""
    if answers.keys() != expected.keys():
        raise CheckFailed(f"expected answers for {sorted(expected)}, got {sorted(answers)}")
    for name, answer in answers.items():
        if (
            answer.decision != expected[name].decision
            or abs(answer.score - expected[name].score) > tolerance
        ):
            raise CheckFailed(f"{name}: expected {expected[name]} as outside, got {answer}")


def check_stop(server: "subprocess.Popen[bytes]", log: Path, grace_s: float) -> float:
    """Send SIGTERM like an engine; return the seconds until the service exits with status 0."""
    start = time.monotonic()
    (process,) = processes_inside(server)
    os.kill(process, signal.SIGTERM)
    try:
        status = server.wait(grace_s)
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(f"still running {grace_s} s after SIGTERM:\n{tail(log)}") from error
    if status:
        raise CheckFailed(f"SIGTERM ended the service with {status}:\n{tail(log)}")
    if "Traceback" in log.read_text("utf-8", "replace"):
        raise CheckFailed(f"the service's output holds a traceback:\n{tail(log)}")
    return time.monotonic() - start


def tail(log: Path) -> str:
    """Return the end of the service's output."""
    return log.read_text("utf-8", "replace")[-3000:]
