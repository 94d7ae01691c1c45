"""A part of the network as a compiled graph of OpenVINO, kept on disk.

Tracing and converting take seconds, so that a compiled graph is kept in a file, beside the kernels
that Numba keeps. Its name is a digest of everything that the graph depends on.
"""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import openvino as ov
import torch
from openvino import opset13 as ops
from openvino.frontend.pytorch import ConversionExtension
from torch import Tensor, nn

from model import network, scoring
from model.durable import replace_file
from model.engines.openvino.scan import TORCH_NAME, HybridScan
from model.scan.numba import backend as kernels

logger = logging.getLogger(__name__)

_DIGEST_BYTES = 32
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
_CAPABILITIES = {"float32": "FP32", "bfloat16": "BF16"}
_PACKAGES = ("openvino", "torch", "timm", "numba")
_SOURCES = (network, scoring)


def cache_folder() -> Path:
    """Return the folder for compiled graphs: beside Numba's kernels."""
    folder = Path(numba.config.CACHE_DIR or Path(kernels.__file__).parent / "__pycache__")
    return folder / "openvino"


@lru_cache(maxsize=1)
def core() -> Any:
    """Return OpenVINO's core, which can read graphs with a scan."""
    made = ov.Core()
    made.add_extension(ov.OpExtension(HybridScan))
    return made


def processor() -> str:
    """Return the processor's name and what it can compute."""
    names = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    return repr([core().get_property("CPU", name) for name in names])


def has_precision(precision: str) -> bool:
    """Return whether this processor computes in a precision.

    Told to compute in one that it lacks, OpenVINO says nothing and takes float32.
    """
    return _CAPABILITIES[precision] in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class Graph:
    """A module computed by OpenVINO for inputs of the shapes of `example`.

    `precision` is "float32" or "bfloat16", `description` what the module depends on besides its
    weights. Raises `RuntimeError` for a precision that this processor does not have.
    """

    def __init__(
        self, module: nn.Module, example: Sequence[Tensor], description: str,
        precision: str, threads: int,
    ) -> None:  # fmt: skip
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # other workers would be pinned to the same cores
        }
        name = _name(module, description, options)
        compiled = _read(name, options)
        if compiled is None:
            compiled = core().compile_model(_converted(module, example, threads), "CPU", options)
            _write(name, compiled)
        self._request = compiled.create_infer_request()

    def __call__(self, *inputs: Any) -> list[Any]:
        """Return the outputs as arrays, valid until the next call."""
        results = self._request.infer(inputs, share_inputs=True, share_outputs=True)
        return list(results.values())


def _converted(module: nn.Module, example: Sequence[Tensor], threads: int) -> Any:
    """Return OpenVINO's graph of a module, for the shapes of the example alone.

    With fixed shapes it is a fifth faster than for any number of images.
    """
    extensions = [
        ConversionExtension(TORCH_NAME, lambda node: _scan(node, threads)),
        ConversionExtension("aten::cosine_similarity", _cosine_similarity),
    ]
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about values that are constants here
        module(*example)  # Numba cannot compile its kernels while torch traces
        trace: Any = torch.jit.trace
        traced = trace(module, tuple(example), check_trace=False)
        shapes = [list(tensor.shape) for tensor in example]
        return ov.convert_model(
            traced, example_input=tuple(example), input=shapes, extension=extensions
        )


def _scan(node: Any, threads: int) -> list[Any]:
    outputs: list[Any] = HybridScan([node.get_input(i) for i in range(7)], threads).outputs()
    return outputs


def _cosine_similarity(node: Any) -> list[Any]:
    """Convert torch's function, which OpenVINO 2026.4 lacks."""
    axis, smallest = (node.get_values_from_const_input(i) for i in (2, 3))
    one, other = node.get_input(0), node.get_input(1)
    tiny = ops.constant(smallest, ov.Type.f32)
    lengths = [ops.maximum(ops.reduce_l2(x, [axis], keep_dims=False), tiny) for x in (one, other)]
    products = ops.reduce_sum(ops.multiply(one, other), [axis], keep_dims=False)
    outputs: list[Any] = ops.divide(products, ops.multiply(*lengths)).outputs()
    return outputs


def _name(module: nn.Module, description: str, options: dict[str, Any]) -> str:
    """Return the name of the graph's file: a digest of everything that it depends on."""
    versions = [(package, version(package)) for package in _PACKAGES]
    digest = hashlib.sha256(
        repr((description, options, processor(), versions, _sources())).encode()
    )
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"{digest.hexdigest()}.graph"


@lru_cache(maxsize=1)
def _sources() -> str:
    """Return a digest of the program's files that decide about a graph."""
    folders = [*(Path(str(room.__file__)).parent for room in _SOURCES), Path(__file__).parent]
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _read(name: str, options: dict[str, Any]) -> Any:
    """Return the compiled graph of a file, or None without a whole one."""
    try:
        data = (cache_folder() / name).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
        return None
    with suppress(RuntimeError):  # of another build of OpenVINO with this version
        return core().import_model(data[_DIGEST_BYTES:], "CPU", options)
    return None


def _write(name: str, compiled: Any) -> None:
    """Keep a compiled graph, if the folder can be written."""
    data = compiled.export_model().getvalue()
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        replace_file(cache_folder() / name, hashlib.sha256(data).digest() + data)
    except OSError as error:
        logger.warning("OpenVINO's graphs are converted at every start: %s", error)
