"""Builds an ONNX graph node by node: manages names, constants and attributes."""

import hashlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
"""The newest operator set of onnxruntime 1.20."""

IR_VERSION = 10

Value: TypeAlias = str
"""The name of a tensor of the graph."""

Operand: TypeAlias = str | NDArray[Any]
"""A tensor of the graph, or an array to store as a constant."""

_TYPES = {
    "uint8": TensorProto.UINT8,
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
}


class Graph:
    """Nodes and constants of a graph under construction.

    Equal constants are stored once. For the body of a loop, `outer` is the graph around it, which
    stores the body's constants, so that onnxruntime prepares them once and not at every step.
    """

    def __init__(self, outer: "Graph | None" = None, prefix: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._outer = outer
        self._prefix = prefix
        self._count = 0

    def constant(self, value: NDArray[Any]) -> Value:
        """Store an array and return its name."""
        if self._outer is not None:
            return self._outer.constant(value)
        value = np.ascontiguousarray(value)
        digest = hashlib.sha256(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        name = f"constant_{digest.hexdigest()[:20]}"
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def op(self, kind: str, *inputs: Operand, name: str | None = None, **attributes: Any) -> Value:
        """Add a node with one output, called `name` if given; return the output."""
        return self._node(kind, inputs, [name or self._fresh(kind)], attributes)[0]

    def split(self, x: Value, sizes: Sequence[int], axis: int) -> list[Value]:
        """Cut `x` along `axis` into parts of these sizes."""
        outputs = [self._fresh("Split") for _ in sizes]
        return self._node("Split", (x, np.array(sizes, np.int64)), outputs, {"axis": axis})

    def top(self, x: Value, count: int, axis: int) -> Value:
        """Return the `count` highest values along `axis`, unsorted."""
        outputs = [self._fresh("TopK"), self._fresh("TopK")]
        attributes = {"axis": axis, "sorted": 0}
        return self._node("TopK", (x, np.array([count])), outputs, attributes)[0]

    def include(self, other: onnx.GraphProto) -> None:
        """Add another graph's nodes and constants; their names must not be in use."""
        self.nodes.extend(other.node)
        self.initializers |= {constant.name: constant for constant in other.initializer}

    def reshape(self, x: Value, *shape: int) -> Value:
        """Reshape; 0 keeps the size of that axis and -1 is inferred."""
        return self.op("Reshape", x, np.array(shape, np.int64))

    def transpose(self, x: Value, *axes: int) -> Value:
        """Permute the axes to this order."""
        return self.op("Transpose", x, perm=list(axes))

    def silu(self, x: Value) -> Value:
        """Return x times its sigmoid."""
        return self.op("Mul", x, self.op("Sigmoid", x))

    def scan(self, body: onnx.GraphProto, state: Value, inputs: Sequence[Value]) -> list[Value]:
        """Run `body` along the first axis of `inputs`; return the last state and the outputs."""
        names = [self._fresh("Scan") for _ in body.output]
        attributes = {"body": body, "num_scan_inputs": len(inputs)}
        return self._node("Scan", (state, *inputs), names, attributes)

    def body(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> onnx.GraphProto:
        """Return the nodes as the body of a loop, with tensors of any shape."""
        return helper.make_graph(
            self.nodes,
            self._prefix or "body",
            [_any(n) for n in inputs],
            [_any(n) for n in outputs],
        )

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}{kind.lower()}_{self._count}"

    def _node(
        self, kind: str, inputs: Sequence[Operand], outputs: list[str], attributes: dict[str, Any]
    ) -> list[Value]:
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        self.nodes.append(helper.make_node(kind, names, outputs, name=outputs[0], **attributes))
        return outputs


def tensor(name: str, dtype: str, *shape: int | str) -> onnx.ValueInfoProto:
    """Declare an input or output of the graph; a string is a variable size."""
    return helper.make_tensor_value_info(name, _TYPES[dtype], list(shape))


def _any(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
