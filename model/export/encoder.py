"""The frozen encoder, any timm network, as ONNX nodes written by torch's exporter."""

import warnings

import onnx
import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.export.graph import OPSET, Graph, Value
from model.network import Encoder

_PREFIX = "encoder_"
_INPUT = "normalised"


class _Features(nn.Module):
    """The encoder with its maps in a tuple, for the exporter."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        return tuple(self.encoder(x))


def encode(graph: Graph, encoder: Encoder, normalised: Value, size: tuple[int, int]) -> list[Value]:
    """Write the encoder; return its maps at strides 4, 8 and 16."""
    traced = onnx.compose.add_prefix(trace(encoder, size), _PREFIX)
    graph.op("Identity", normalised, name=_PREFIX + _INPUT)
    graph.include(traced.graph)
    return [output.name for output in traced.graph.output]


def trace(encoder: Encoder, size: tuple[int, int]) -> onnx.ModelProto:
    """Return the encoder as a separate model for any batch size, batch norms folded."""
    images = torch.zeros(2, 3, *size)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        # torch itself calls a deprecated function
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            _Features(encoder).eval(), (images,), dynamo=True, input_names=[_INPUT],
            dynamic_shapes={"x": {0: batch}}, opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None  # None only when it writes a file
    return program.model_proto
