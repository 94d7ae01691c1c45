"""From features to map, score and decision as ONNX nodes: `model.scoring.scores` to `calibration`.

B  batch     h, w  size of one scale's maps     H, W  size of the anomaly map     Q  categories

Resizing and blurring are linear and separable, so both together are two matrices for each scale.
They are computed here, in double precision, instead of for every image.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from onnx import TensorProto

from model.calibration.calibration import MEDIAN_SCORE, Calibration
from model.export.graph import Graph, Value
from model.scoring.gaussians import Gaussians
from model.scoring.map_baseline import Baseline
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.residuals import EDGE
from model.scoring.scores import Scoring
from model.scoring.smoothing import resize_and_blur

LOG_ODDS = math.log((1 - MEDIAN_SCORE) / MEDIAN_SCORE)
_TINY = 1e-8  # the smallest norm of torch's cosine_similarity
ABOVE_ZERO = np.array(np.finfo(np.float32).tiny)
BELOW_ONE = np.array(np.nextafter(np.float32(1), np.float32(0)))


def raw_map(
    graph: Graph,
    teacher: Sequence[Value],
    student: Sequence[Value],
    sizes: Sequence[tuple[int, int]],
    scoring: Scoring,
    image_size: tuple[int, int],
) -> Value:
    """Write `model.scoring.cosine_map.anomaly_map` of used scales (B, C, h, w): (B, H, W)."""
    weights = scoring.scale_weights[scoring.unused_scales :]
    shares = [weight / sum(weights) for weight in weights]
    total = None
    for t, s, size, share in zip(teacher, student, sizes, shares, strict=True):
        if share == 0:
            continue
        rows, columns = (
            resize_and_blur(n, m, scoring.sigma) for n, m in zip(size, image_size, strict=True)
        )
        distance = graph.op("MatMul", (share * rows).astype(np.float32), _distance(graph, t, s))
        scaled = graph.op("MatMul", distance, columns.T.astype(np.float32))
        total = scaled if total is None else graph.op("Add", total, scaled)
    assert total is not None  # Scoring takes no weights that are all zero
    return total


def standardised(
    graph: Graph, maps: Value, category: Value, baselines: Sequence[Baseline]
) -> Value:
    """Write `Baseline.standardise`, each image with its category's baseline."""
    mean = graph.op("Gather", np.stack([b.mean for b in baselines]), category, axis=0)
    deviation = graph.op("Gather", np.stack([b.deviation for b in baselines]), category, axis=0)
    return graph.op("Div", graph.op("Sub", maps, mean), deviation)


def residuals(
    graph: Graph,
    teacher: Sequence[Value],
    student: Sequence[Value],
    sizes: Sequence[tuple[int, int]],
    weights: Sequence[float],
) -> Value:
    """Write `model.scoring.residuals.residuals` as the output of that name: (B, F)."""
    flat = []
    for t, s, size, weight in zip(teacher, student, sizes, weights, strict=True):
        if weight == 0:
            continue
        side = [2, 2]
        wide = graph.op(
            "AveragePool", graph.op("Sub", t, s),
            kernel_shape=side, pads=[1] * 4, count_include_pad=1,
        )  # fmt: skip
        smooth = graph.op("AveragePool", wide, kernel_shape=side)
        flat.append(graph.reshape(graph.op("Mul", smooth, _edges(size)), 0, -1))
    return graph.op("Concat", *flat, axis=1, name="residuals")


def measured(
    graph: Graph, differences: Value, category: Value, baselines: Sequence[FeatureBaseline]
) -> Value:
    """Write `FeatureBaseline.standardise`, each image with its category's: (B, H, W)."""
    first, total = baselines[0], None
    parts = graph.split(differences, [math.prod(shape) for shape in first.shapes], axis=1)
    for number, (part, (rows, columns)) in enumerate(zip(parts, first.stretches, strict=True)):
        grid = _measured_scale(graph, part, category, [b.scales[number] for b in baselines])
        scaled = graph.op("MatMul", graph.op("MatMul", rows, grid), columns)
        total = scaled if total is None else graph.op("Add", total, scaled)
    assert total is not None  # Scoring takes no weights that are all zero
    return total


def raw_score(graph: Graph, maps: Value, scoring: Scoring, pixels: int, name: str) -> Value:
    """Write `Scoring.raw_scores`: (B, H, W) -> (B,); NaN if any pixel is not finite."""
    flat = graph.reshape(maps, 0, -1)
    share = scoring.top_fraction if scoring.statistic == "top_mean" else 0
    count = max(1, round(share * pixels))
    if count == 1:
        score = graph.op("ReduceMax", flat, np.array([1]), keepdims=0)
    else:
        top = graph.top(flat, count, axis=1)
        score = graph.op("ReduceMean", top, np.array([1]), keepdims=0)
    zero = graph.op("Mul", flat, np.array(0, np.float32))  # NaN if a pixel is infinite or NaN
    return graph.op("Add", score, graph.op("ReduceSum", zero, np.array([1]), keepdims=0), name=name)


def decide(graph: Graph, raw: Value, category: Value, calibrations: Sequence[Calibration]) -> None:
    """Write the outputs `score`, 0 to 1, and `decision`: 0 OK, 1 NG, 2 REVIEW, 3 UNDECIDED."""
    image = [rounded_down(c.image_threshold) for c in calibrations]
    review = [lowest_asked(c) for c in calibrations]
    slope = np.array([LOG_ODDS / c.image_scale for c in calibrations], np.float32)
    threshold = graph.op("Gather", np.array(image), category)
    above = graph.op("Sub", raw, threshold)
    odds = graph.op("Mul", above, graph.op("Gather", slope, category))
    graph.op("Clip", graph.op("Sigmoid", odds), ABOVE_ZERO, BELOW_ONE, name="score")
    to_review = graph.op("Greater", raw, graph.op("Gather", np.array(review), category))
    decision = graph.op("Where", to_review, np.array(2), np.array(0))
    decision = graph.op("Where", graph.op("Greater", raw, threshold), np.array(1), decision)
    graph.op("Where", graph.op("IsNaN", raw), np.array(3), decision, name="decision")


def lowest_asked(calibration: Calibration) -> np.float32:
    """Return the raw score above which a part is not OK."""
    review = calibration.review_threshold
    return rounded_down(calibration.image_threshold if review is None else review)


def rounded_down(threshold: float) -> np.float32:
    """Return the largest float32 not above: comparing any float32 with either gives the same."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf))


def _measured_scale(
    graph: Graph, differences: Value, category: Value, gaussians: Sequence[Gaussians]
) -> Value:
    """Write `Gaussians.distances` of flat differences, each image by its category: (B, h, w).

    Computes the product with every category's whitening, then selects by each image's category.
    """
    channels, height, width = gaussians[0].mean.shape
    means = np.stack([gaussian.mean.reshape(channels, -1) for gaussian in gaussians])
    laid = graph.reshape(differences, 0, channels, height * width)
    centred = graph.op("Sub", laid, graph.op("Gather", means, category, axis=0))
    places = graph.transpose(centred, 2, 0, 1)  # (P, B, C)
    distances = None
    for number, gaussian in enumerate(gaussians):
        across = np.ascontiguousarray(gaussian.matrices.transpose(0, 2, 1))
        largest = np.abs(across).max(axis=(1, 2), keepdims=True)
        half = graph.op("Cast", (across / largest).astype(np.float16), to=TensorProto.FLOAT)
        white = graph.op("MatMul", places, graph.op("Mul", half, largest))
        mean_square = graph.op(
            "ReduceMean", graph.op("Mul", white, white), np.array([2]), keepdims=0
        )
        root = graph.op("Sqrt", mean_square)  # (P, B)
        selected = graph.op("Equal", category, np.array(number))
        distances = root if distances is None else graph.op("Where", selected, root, distances)
    assert distances is not None  # every exportable checkpoint has a category
    return graph.reshape(graph.transpose(distances, 1, 0), -1, height, width)


def _edges(size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """Return the factors that correct averages at the edges of a grid; see `EDGE`."""
    height, width = (np.ones(side, np.float32) for side in size)
    for side in (height, width):
        side[[0, -1]] = EDGE
    return np.outer(height, width)


def _distance(graph: Graph, teacher: Value, student: Value) -> Value:
    """Write 1 - cosine similarity over the channels: (B, C, h, w) twice -> (B, h, w)."""
    along = np.array([1])
    product = graph.op("ReduceSum", graph.op("Mul", teacher, student), along, keepdims=0)
    lengths = [
        graph.op("Max", graph.op("ReduceL2", x, along, keepdims=0), np.array(_TINY, np.float32))
        for x in (teacher, student)
    ]
    similarity = graph.op("Div", product, graph.op("Mul", *lengths))
    return graph.op("Sub", np.array(1, np.float32), similarity)
