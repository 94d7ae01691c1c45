"""The measured service: its categories, the images to post, and its description."""

import json
import platform
import shlex
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from benchmarks.loading import CannotMeasure
from benchmarks.loading.sender import Target

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
_CPU_INFO = Path("/proc/cpuinfo")
_PACKAGES = ("mambaad-service", "torch", "numba", "numpy", "pillow", "uvicorn", "aiohttp")


def served_categories(url: str, headers: Mapping[str, str]) -> list[str]:
    """Return the names of the service's categories."""
    answer = _get_json(f"{url}/categories", headers)
    return [entry["category"] for entry in answer["categories"]]


def parse_mix(text: str | None, served: Sequence[str]) -> dict[str, float]:
    """Read `a=3,b=1`; None gives equal weights. Raises `CannotMeasure`."""
    if text is None:
        return dict.fromkeys(served, 1.0)
    mix = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            mix[name.strip()] = float(weight or 1)
        except ValueError as error:
            raise CannotMeasure(f"expected name=weight, got {part!r}") from error
    unknown = sorted(set(mix) - set(served))
    if unknown:
        raise CannotMeasure(f"the service has no {', '.join(unknown)}; has: {', '.join(served)}")
    return mix


def read_bodies(folder: Path, categories: Sequence[str]) -> dict[str, list[bytes]]:
    """Return each category's images: from the folder whose name it starts with, or from all.

    Raises `CannotMeasure` without images.
    """
    by_folder = {
        place.name: [f.read_bytes() for f in sorted(place.iterdir()) if f.suffix in _SUFFIXES]
        for place in sorted(folder.iterdir())
        if place.is_dir()
    }
    everything = [body for bodies in by_folder.values() for body in bodies]
    if not everything:
        raise CannotMeasure(f"no images in {folder}/<category>/")
    bodies = {}
    for category in categories:
        fitting = [name for name in by_folder if by_folder[name] and category.startswith(name)]
        bodies[category] = by_folder[max(fitting, key=len)] if fitting else everything
    return bodies


def target_of(
    url: str, images: Path, api_key: str | None, heatmap: str, timeout_s: float
) -> tuple[Target, list[str]]:
    """Return the target of the requests, and the categories."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    categories = served_categories(url, headers)
    if not categories:
        raise CannotMeasure(f"{url} serves no category")
    bodies = read_bodies(images, categories)
    return Target(url.rstrip("/"), bodies, headers, heatmap, timeout_s), categories


def inspected(client: httpx.Client, category: str, body: bytes) -> tuple[str, float] | None:
    """Post an image; return its decision and raw score, None if UNDECIDED.

    Raises `CannotMeasure` if a failure says anything else than UNDECIDED.
    """
    answer = client.post("/detect", params={"category": category}, content=body)
    if answer.status_code != 200:
        if answer.json()["decision"] != "UNDECIDED":
            raise CannotMeasure(f"not UNDECIDED: {answer.text}")
        return None
    (result,) = answer.json()["results"]
    return result["decision"], result["raw_score"]


def about(url: str) -> dict[str, Any]:
    """Describe a measurement: time, command, workers, processor and versions."""
    ready = _get_json(f"{url}/readyz", {})
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks.load", *sys.argv[1:]]),
        "workers": [worker["name"] for worker in ready.get("workers", [])],
        "sender_device": _device_name(),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in _PACKAGES},
    }


def _get_json(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(url, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: dict[str, Any] = json.loads(answer.read())
    return body


def _device_name() -> str:
    """Return this machine's processor, without the slow import of torch."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
