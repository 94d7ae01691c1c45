"""The scan as an operator in OpenVINO's graphs; its kernels are those of `model.scan.numba`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov

from model.scan.numba import backend as cpu

TORCH_NAME = "mambaad::hybrid_scan"
"""The operator that a traced network has in this place."""


class HybridScan(ov.Op):  # type: ignore[misc]  # openvino is untyped
    """`model.scan.hybrid_scan` on the CPU with `threads` threads.

    It computes in float32 whatever the graph's precision: a state adds up thousands of steps. Its
    inputs are those of the function, in order. OpenVINO makes one without inputs to read a graph,
    and sets the attributes later.
    """

    def __init__(self, inputs: Sequence[Any] | None = None, threads: int = 1) -> None:
        super().__init__(self)
        self._attributes = {"threads": threads}
        if inputs is not None:
            self.set_arguments(list(inputs))
            self.constructor_validate_and_infer_types()

    def validate_and_infer_types(self) -> None:
        """Say that the output has the type and shape of u."""
        self.set_output_type(0, self.get_input_element_type(0), self.get_input_partial_shape(0))

    def clone_with_new_inputs(self, inputs: Sequence[Any]) -> "HybridScan":
        """Return the same operator for other inputs."""
        return HybridScan(inputs, self._attributes["threads"])

    def get_type_info(self) -> Any:
        """Return its name in a graph."""
        return ov.DiscreteTypeInfo("HybridScan", "mambaad")

    def visit_attributes(self, visitor: Any) -> bool:
        """Let OpenVINO write the attributes, or set them."""
        visitor.on_attributes(self._attributes)
        return True

    def has_evaluate(self) -> bool:
        """Say that it computes itself."""
        return True

    def evaluate(self, outputs: Sequence[Any], inputs: Sequence[Any]) -> bool:
        """Fill the output (b, L, D)."""
        arrays = [tensor.data for tensor in inputs]
        outputs[0].shape = arrays[0].shape
        result = outputs[0].data
        threads = self._attributes["threads"]
        groups = cpu.groups_of(arrays, threads)
        y = result[None] if groups == 1 else np.empty((groups, *result.shape), np.float32)
        cpu.fill(arrays, y, threads)
        if groups > 1:
            y.sum(axis=0, out=result)
        return True
