"""From features to map, score and decision as ONNX nodes: `model.anomaly` to `calibration`.

B  batch     h, w  size of one scale's maps     H, W  size of the anomaly map     Q  categories

Resizing and blurring are linear in rows and in columns, so both together are two matrices for each
scale. They are multiplied out here once, in double precision, instead of at every image.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.anomaly import Scoring
from model.anomaly_map import TRUNCATE
from model.baseline import Baseline
from model.calibration import MEDIAN_SCORE, Calibration
from model.export.graph import Graph, Value

LOG_ODDS = math.log((1 - MEDIAN_SCORE) / MEDIAN_SCORE)
_TINY = 1e-8  # the floor that torch's cosine_similarity puts under a norm
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
    """Write `model.anomaly.anomaly_map` of the used scales' features (B, C, h, w): (B, H, W)."""
    weights = scoring.scale_weights[scoring.unused_scales :]
    shares = [weight / sum(weights) for weight in weights]
    total = None
    for t, s, size, share in zip(teacher, student, sizes, shares, strict=True):
        if share == 0:
            continue
        rows, columns = (
            _resized_and_blurred(n, m, scoring.sigma) for n, m in zip(size, image_size, strict=True)
        )
        distance = graph.op("MatMul", (share * rows).astype(np.float32), _distance(graph, t, s))
        scaled = graph.op("MatMul", distance, columns.T.astype(np.float32))
        total = scaled if total is None else graph.op("Add", total, scaled)
    assert total is not None  # Scoring takes no weights that are all zero
    return total


def standardised(
    graph: Graph, maps: Value, category: Value, baselines: Sequence[Baseline]
) -> Value:
    """Write `Baseline.standardise`, each image by its category's."""
    mean = graph.op("Gather", np.stack([b.mean for b in baselines]), category, axis=0)
    deviation = graph.op("Gather", np.stack([b.deviation for b in baselines]), category, axis=0)
    return graph.op("Div", graph.op("Sub", maps, mean), deviation)


def raw_score(graph: Graph, maps: Value, scoring: Scoring, pixels: int, name: str) -> Value:
    """Write `Scoring.raw_scores`: (B, H, W) -> (B,); NaN where any pixel is not finite."""
    flat = graph.reshape(maps, 0, -1)
    share = scoring.top_fraction if scoring.statistic == "top_mean" else 0
    count = max(1, round(share * pixels))
    if count == 1:
        score = graph.op("ReduceMax", flat, np.array([1]), keepdims=0)
    else:
        top = graph.top(flat, count, axis=1)
        score = graph.op("ReduceMean", top, np.array([1]), keepdims=0)
    nothing = graph.op("Mul", flat, np.array(0, np.float32))  # NaN from infinity and NaN
    return graph.op(
        "Add", score, graph.op("ReduceSum", nothing, np.array([1]), keepdims=0), name=name
    )


def decide(graph: Graph, raw: Value, category: Value, calibrations: Sequence[Calibration]) -> None:
    """Write the outputs `score`, 0 to 1, and `decision`: 0 OK, 1 NG, 2 REVIEW, 3 UNDECIDED."""
    image = [rounded_down(c.image_threshold) for c in calibrations]
    review = [lowest_asked(c) for c in calibrations]
    slope = np.array([LOG_ODDS / c.image_scale for c in calibrations], np.float32)
    threshold = graph.op("Gather", np.array(image), category)
    above = graph.op("Sub", raw, threshold)
    odds = graph.op("Mul", above, graph.op("Gather", slope, category))
    graph.op("Clip", graph.op("Sigmoid", odds), ABOVE_ZERO, BELOW_ONE, name="score")
    asked = graph.op("Greater", raw, graph.op("Gather", np.array(review), category))
    decision = graph.op("Where", asked, np.array(2), np.array(0))
    decision = graph.op("Where", graph.op("Greater", raw, threshold), np.array(1), decision)
    graph.op("Where", graph.op("IsNaN", raw), np.array(3), decision, name="decision")


def lowest_asked(calibration: Calibration) -> np.float32:
    """Return the raw score above which a person is asked, or the part rejected."""
    review = calibration.review_threshold
    return rounded_down(calibration.image_threshold if review is None else review)


def rounded_down(threshold: float) -> np.float32:
    """Return the largest float32 not above: a float32 is above both or above neither."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf))


def _distance(graph: Graph, teacher: Value, student: Value) -> Value:
    """1 - cosine similarity over the channels: (B, C, h, w) twice -> (B, h, w)."""
    along = np.array([1])
    product = graph.op("ReduceSum", graph.op("Mul", teacher, student), along, keepdims=0)
    lengths = [
        graph.op("Max", graph.op("ReduceL2", x, along, keepdims=0), np.array(_TINY, np.float32))
        for x in (teacher, student)
    ]
    similarity = graph.op("Div", product, graph.op("Mul", *lengths))
    return graph.op("Sub", np.array(1, np.float32), similarity)


def _resized_and_blurred(inputs: int, outputs: int, sigma: float) -> NDArray[np.float64]:
    """Return the matrix (outputs, inputs) that stretches corner to corner, then blurs."""
    at = np.arange(outputs) * ((inputs - 1) / max(outputs - 1, 1))
    below = np.clip(np.floor(at).astype(int), 0, max(inputs - 2, 0))
    matrix = np.zeros((outputs, inputs))
    matrix[np.arange(outputs), below] += 1 - (at - below)
    matrix[np.arange(outputs), np.minimum(below + 1, inputs - 1)] += at - below
    if sigma == 0:
        return matrix
    blurred: NDArray[np.float64] = ndimage.gaussian_filter1d(
        matrix, sigma, axis=0, mode="reflect", truncate=TRUNCATE
    )
    return blurred
