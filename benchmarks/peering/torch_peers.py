"""The host of anomalib's networks in torch, float32; runs in the peers' environment.

python -m benchmarks.peering.torch_peers THREADS SUBJECT...
"""

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version

import torch

from benchmarks.peering.networks import build
from benchmarks.peering.subjects import SIDE, TORCH
from benchmarks.peering.turns import Call, serve


def prepare(name: str) -> Mapping[str, Call]:
    """Return a call of the network with one image."""
    network = build(name)
    image = torch.rand(1, 3, SIDE, SIDE)

    def call() -> None:
        with torch.inference_mode():
            network(image)

    return {TORCH: call}


def about() -> dict[str, str | int]:
    """Return the threads, and the versions that the times depend on."""
    packages = {package: version(package) for package in ("torch", "anomalib", "timm")}
    return {"threads": torch.get_num_threads(), "python": platform.python_version(), **packages}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    serve(sys.argv[2:], prepare, about)
