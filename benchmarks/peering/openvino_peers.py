"""The host of anomalib's networks in OpenVINO; runs in the peers' environment.

    python -m benchmarks.peering.openvino_peers THREADS SUBJECT...

Each network is compiled twice: held to float32, and with the precision that OpenVINO chooses by
default: bfloat16 where the processor has AMX or AVX-512 BF16. Its latency hint is set for both.
"""

import platform
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from torch import nn

from benchmarks.peering.networks import build
from benchmarks.peering.subjects import OPENVINO, OPENVINO_DEFAULT, SIDE
from benchmarks.peering.turns import Call, serve

OPSET = 17
HINTS: dict[str, dict[str, str]] = {
    OPENVINO: {"INFERENCE_PRECISION_HINT": "f32"},
    OPENVINO_DEFAULT: {},
}
THROUGH_ONNX = "reverse-distillation"
"""OpenVINO's direct conversion of these networks fails."""


class OpenvinoPeers:
    """Compiles networks for `threads` threads; remembers the precision of each compiled one."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.precisions: dict[str, str] = {}
        self._core = openvino.Core()

    def prepare(self, name: str) -> Mapping[str, Call]:
        """Return a call of the network with one image for each precision."""
        image = np.random.default_rng(0).random((1, 3, SIDE, SIDE), dtype=np.float32)
        converted = self._converted(name, build(name), torch.from_numpy(image))
        calls: dict[str, Call] = {}
        for way, hints in HINTS.items():
            options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads}
            compiled = self._core.compile_model(converted, "CPU", {**options, **hints})
            precision = compiled.get_property("INFERENCE_PRECISION_HINT")
            self.precisions[way] = precision.get_type_name()
            calls[way] = partial(compiled.create_infer_request().infer, [image])
        return calls

    def _converted(self, name: str, network: nn.Module, image: torch.Tensor) -> Any:  # noqa: ANN401
        with torch.no_grad():
            if not name.startswith(THROUGH_ONNX):
                shape = [tuple(image.shape)]
                return openvino.convert_model(network, example_input=image, input=shape)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.onnx"
                torch.onnx.export(network, (image,), path, dynamo=False, opset_version=OPSET)
                return self._core.read_model(path.read_bytes())

    def about(self) -> dict[str, Any]:
        """Return the threads, precisions, and the versions that the times depend on."""
        packages = {name: version(name) for name in ("openvino", "torch", "anomalib", "onnx")}
        python = platform.python_version()
        precisions = self.precisions
        return {"threads": self.threads, "precisions": precisions, "python": python, **packages}


if __name__ == "__main__":
    peers = OpenvinoPeers(int(sys.argv[1]))
    serve(sys.argv[2:], peers.prepare, peers.about)
