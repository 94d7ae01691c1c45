"""Smaller files: stores the weights of convolutions and linear layers in 16 or 8 bits.

Only the storage changes: onnxruntime converts the weights to float32 when it loads them. The scan,
the baselines and the thresholds keep full precision. A file becomes a half or a third as large, and
is as fast. The loss of accuracy is measured, and limited, on good images and on copies with drawn
defects.
"""

from enum import StrEnum

import numpy as np
import onnx
from jaxtyping import UInt8
from onnx import TensorProto, helper, numpy_helper

from model.checkpoints.checkpoint import Checkpoint
from model.errors import ExportError
from model.export.parity import Parity, Pictures, difference, images_to_compare, torch_scores
from model.export.session import Session

TOLERANCE = 0.02
"""Default for the largest difference of a score, 0 to 1, from the float32 network's."""

_SMALLEST = 1024


class Precision(StrEnum):
    """The precision of stored weights."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


def compress(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Return the model with its convolutions' and linear layers' weights stored in `precision`."""
    compressed = onnx.ModelProto()
    compressed.CopyFrom(model)
    graph = compressed.graph
    axes = _weights(graph)
    constants, nodes = [], []
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        if constant.name not in axes or values.size < _SMALLEST or values.dtype != np.float32:
            constants.append(constant)
        elif precision is Precision.FP16:
            constants.append(numpy_helper.from_array(_half(values), f"{constant.name}_fp16"))
            half, full = [constants[-1].name], [constant.name]
            nodes.append(helper.make_node("Cast", half, full, to=TensorProto.FLOAT))
        else:
            parts = _quantised(constant.name, values, axes[constant.name])
            constants += parts
            names, full = [part.name for part in parts], [constant.name]
            axis = axes[constant.name]
            nodes.append(helper.make_node("DequantizeLinear", names, full, axis=axis))
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(constants)
    graph.node.extend(nodes)
    _set_precision(compressed, precision)
    onnx.checker.check_model(compressed, full_check=True)
    return compressed


def check_precision(model: onnx.ModelProto, checkpoint: Checkpoint, tolerance: float) -> Parity:
    """Compare a compressed model with PyTorch on good and on defective images.

    Raises `ExportError`, with the difference, if scores differ by more than `tolerance`.
    """
    good = images_to_compare(checkpoint)
    pictures: Pictures = {
        category: np.concatenate([images, with_defects(images)])
        for category, images in good.items()
    }
    run = Session(model, checkpoint.manifest.categories)
    worst = difference(run, pictures, torch_scores(checkpoint, pictures))
    count = sum(map(len, good.values()))
    if not worst <= tolerance:
        raise ExportError(
            f"in this precision scores differ from the checkpoint's by {worst:.3g}, more than the "
            f"tolerance of {tolerance:g}: the file is not written"
        )
    return Parity(f"{count} good images and {count} defective ones", worst)


def with_defects(images: UInt8[np.ndarray, "n 3 H W"]) -> UInt8[np.ndarray, "n 3 H W"]:
    """Return copies of the images, each with a dark or bright rectangle, 1/8 of a side long."""
    random = np.random.default_rng(0)
    changed = images.copy()
    height, width = (side // 8 for side in images.shape[2:])
    for i, image in enumerate(changed):
        top = random.integers(0, image.shape[1] - height + 1)
        left = random.integers(0, image.shape[2] - width + 1)
        image[:, top : top + height, left : left + width] = 20 if i % 2 else 235
    return changed


def _weights(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the weights' names and the axis of their outputs, each of which has one scale."""
    axes = {}
    for node in graph.node:
        if node.op_type == "Conv":
            axes[node.input[1]] = 0
        elif node.op_type == "MatMul":
            axes[node.input[1]] = 1
    matrices = {c.name for c in graph.initializer if len(c.dims) in (2, 4)}
    return {name: axis for name, axis in axes.items() if name in matrices}


def _half(values: np.ndarray) -> np.ndarray:
    largest = np.finfo(np.float16).max
    halved: np.ndarray = np.clip(values, -largest, largest).astype(np.float16)
    return halved


def _quantised(name: str, values: np.ndarray, axis: int) -> list[onnx.TensorProto]:
    """Return int8 values and one scale for each output."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = np.abs(values).max(axis=others) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    steps = np.round(values / scale.reshape(shape)).clip(-127, 127).astype(np.int8)
    return [
        numpy_helper.from_array(steps, f"{name}_int8"),
        numpy_helper.from_array(scale, f"{name}_scale"),
    ]


def _set_precision(model: onnx.ModelProto, precision: Precision) -> None:
    for entry in model.metadata_props:
        if entry.key == "precision":
            entry.value = precision.value
