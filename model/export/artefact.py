"""One ONNX file from image to decision: its inputs, outputs and metadata.

image     uint8    (B, 3, H, W)  RGB at the network's size, or float32 from 0 to 1
category  int64    (B,)          index into the metadata's `categories`

raw_score    float32  (B,)       in the network's units; NaN if the map is not finite
score        float32  (B,)       0 to 1, 0.5 at the threshold
decision     int64    (B,)       0 OK, 1 NG, 2 REVIEW, 3 UNDECIDED (a map that is not finite)
anomaly_map  float32  (B, H, W)  on the scale of the thresholds; standardised if the scoring is
raw_map      float32  (B, H, W)  before standardising; or, for distance "mahalanobis":
residuals    float32  (B, F)     the differences of `model.scoring.residuals`
patches      float32  (B, P)     of a scoring with a memory: `model.scoring.patches`
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import onnx
from onnx import helper

from model.checkpoints.checkpoint import Checkpoint
from model.export.decoder import reconstruct
from model.export.describing import metadata
from model.export.encoder import encode
from model.export.exported import check_exportable
from model.export.graph import IR_VERSION, OPSET, Graph, Value, tensor
from model.export.memory import PATCHES, fused, memories, patches
from model.export.scoring import decide, measured, raw_map, raw_score, residuals, standardised
from model.network.encoder import STRIDES
from model.scoring.baselines import AnyBaseline
from model.scoring.fused_baseline import FusedBaseline
from model.scoring.map_baseline import Baseline
from model.scoring.residual_baseline import FeatureBaseline

FORMULATION = "chunked Scan"

_DOCUMENTATION = "MambaAD: from an RGB image to anomaly map, score and decision"


def build(
    checkpoint: Checkpoint, image_type: str = "uint8", say: Callable[[str], None] = lambda _: None
) -> onnx.ModelProto:
    """Return the ONNX model of a calibrated checkpoint, in float32.

    Raises `ExportError` for a checkpoint without thresholds.
    """
    check_exportable(checkpoint)
    height, width = checkpoint.config.image_size
    graph = Graph()
    say("tracing the encoder")
    normalised = _normalise(graph, checkpoint, image_type)
    teacher = encode(graph, checkpoint.network.encoder, normalised, (height, width))
    say("writing decoder and scoring")
    _decoded(graph, checkpoint, teacher)
    properties = metadata(checkpoint) | {
        "opset": str(OPSET), "scan_formulation": FORMULATION, "precision": "fp32",
        "image_type": image_type,
    }  # fmt: skip
    inputs = [
        tensor("image", image_type, "batch", 3, height, width),
        tensor("category", "int64", "batch"),
    ]
    maps = ("batch", height, width)
    compared = _compared(checkpoint)
    outputs = [
        tensor("raw_score", "float32", "batch"),
        tensor("score", "float32", "batch"),
        tensor("decision", "int64", "batch"),
        tensor("anomaly_map", "float32", *maps),
        tensor(compared[0], "float32", "batch", *compared[1]),
    ]
    if remembered := memories(checkpoint):
        outputs.append(tensor(PATCHES, "float32", "batch", remembered[0].memory.features))
    return _model(graph, inputs, outputs, properties)


def _normalise(graph: Graph, checkpoint: Checkpoint, image_type: str) -> Value:
    scale = 255.0 if image_type == "uint8" else 1.0
    mean, std = (
        np.array(values, np.float32).reshape(3, 1, 1) * np.float32(scale)
        for values in (checkpoint.preprocessing.mean, checkpoint.preprocessing.std)
    )
    pixels = graph.op("Cast", "image", to=onnx.TensorProto.FLOAT)
    return graph.op("Div", graph.op("Sub", pixels, mean), std)


def _decoded(graph: Graph, checkpoint: Checkpoint, teacher: list[Value]) -> None:
    """Write all outputs from the encoder's maps."""
    scoring, size = checkpoint.scoring, checkpoint.config.image_size
    unused = scoring.unused_scales
    student = reconstruct(graph, checkpoint.network, teacher, unused)
    maps = _maps(graph, checkpoint, teacher[unused:], student)
    if remembered := memories(checkpoint):
        maps = fused(graph, maps, patches(graph, teacher), "category", remembered)
    maps = graph.op("Identity", maps, name="anomaly_map")
    raw = raw_score(graph, maps, scoring, size[0] * size[1], "raw_score")
    calibrations = [checkpoint.calibrations[c] for c in checkpoint.manifest.categories]
    decide(graph, raw, "category", calibrations)


def _maps(
    graph: Graph, checkpoint: Checkpoint, teacher: Sequence[Value], student: Sequence[Value]
) -> Value:
    """Write the output `raw_map` or `residuals`, and return the decoder's maps to threshold."""
    scoring, size = checkpoint.scoring, checkpoint.config.image_size
    sizes = [(size[0] // s, size[1] // s) for s in STRIDES[scoring.unused_scales :]]
    baselines = _of_decoder(checkpoint)
    if scoring.measures_differences:
        weights = scoring.scale_weights[scoring.unused_scales :]
        compared = residuals(graph, teacher, student, sizes, weights)
        gaussians = [cast(FeatureBaseline, baseline) for baseline in baselines]
        return measured(graph, compared, "category", gaussians)
    cosines = raw_map(graph, teacher, student, sizes, scoring, size)
    maps = graph.op("Identity", cosines, name="raw_map")
    if not scoring.standardise:
        return maps
    usual = [cast(Baseline, baseline) for baseline in baselines]
    return standardised(graph, maps, "category", usual)


def _of_decoder(checkpoint: Checkpoint) -> list[AnyBaseline | None]:
    """Return the decoder's baselines by category index; empty if the scoring has none."""
    if not checkpoint.scoring.uses_baselines:
        return []
    baselines = (checkpoint.baselines[name] for name in checkpoint.manifest.categories)
    return [b.decoder if isinstance(b, FusedBaseline) else b for b in baselines]


def _compared(checkpoint: Checkpoint) -> tuple[str, tuple[int, ...]]:
    """Return the name and shape, without the batch, of the output before the scoring."""
    if not checkpoint.scoring.measures_differences:
        return "raw_map", checkpoint.config.image_size
    baseline = cast(FeatureBaseline, _of_decoder(checkpoint)[0])
    return "residuals", (sum(math.prod(shape) for shape in baseline.shapes),)


def _model(
    graph: Graph,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    properties: dict[str, str],
) -> onnx.ModelProto:
    constants = list(graph.initializers.values())
    proto = helper.make_graph(graph.nodes, "mambaad", inputs, outputs, constants)
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="mambaad-service", producer_version=properties["package_version"],
        doc_string=_DOCUMENTATION,
    )  # fmt: skip
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    return model
