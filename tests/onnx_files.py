"""Tiny ONNX files with the inputs and outputs of `mambaad export`, and versions that contain them.

The raw map is the brightness of each pixel, 0 to 1, and NaN for an image whose first value is
`BROKEN`. The raw score, if any, is the map's maximum.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model.checkpoints.files import serialise, sha256
from model.checkpoints.golden import GoldenImages
from model.checkpoints.manifest import BASELINES_FILE, GOLDEN_FILE, ONNX_FILE, Manifest

BROKEN = 7
HALF = (0.5, 0.5, 0.5)


def brightness(size: tuple[int, int] = (64, 64), outputs: tuple[str, ...] = ("raw_map",)) -> bytes:
    """Return a file for images of a size (height, width)."""
    constants = {
        "scale": np.array(1 / 255, np.float32),
        "broken": np.array(BROKEN, np.float32),
        "nan": np.array(np.nan, np.float32),
        "start": np.array([0, 0, 0], np.int64),
        "end": np.array([1, 1, 1], np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "channel": np.array([1], np.int64),
        "sides": np.array([1, 2], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "channel"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["map"]),
        helper.make_node("Slice", ["pixels", "start", "end", "axes"], ["corner"]),
        helper.make_node("Squeeze", ["corner", "channel"], ["first"]),
        helper.make_node("Equal", ["first", "broken"], ["is_broken"]),
        helper.make_node("Where", ["is_broken", "nan", "map"], ["raw_map"]),
        helper.make_node("ReduceMax", ["raw_map", "sides"], ["raw_score"], keepdims=0),
        helper.make_node("Identity", ["pixels"], ["residuals"]),
    ]
    height, width = size
    shapes = {
        "raw_map": ["batch", height, width],
        "raw_score": ["batch"],
        "residuals": ["batch", 3, height, width],
    }
    graph = helper.make_graph(
        nodes,
        "brightness",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, height, width]),
            helper.make_tensor_value_info("category", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def write_version(
    root: Path,
    name: str,
    calibrations: dict[str, dict[str, object]],
    *,
    data: bytes | None = None,
    scoring: dict[str, object] | None = None,
    baselines: dict[str, np.ndarray] | None = None,
    golden: dict[str, GoldenImages] | None = None,
    size: tuple[int, int] = (64, 64),
) -> Path:
    """Write version 1 of a checkpoint with an ONNX file and no network; return its folder."""
    files = {ONNX_FILE: brightness(size) if data is None else data}
    if baselines:
        files[BASELINES_FILE] = serialise("baselines", baselines)
    if golden:
        images = {category: golden_images.images for category, golden_images in golden.items()}
        files[GOLDEN_FILE] = serialise("golden images", images)
    values = {
        "format_version": 1,
        "name": name,
        "version": "1",
        "created": "2026-01-01T00:00:00+00:00",
        "network": {},
        "preprocessing": {"image_size": list(size), "mean": HALF, "std": HALF},
        "scoring": scoring or {},
        "calibrations": calibrations,
        "encoder_file": "none-00000000.safetensors",
        "sha256": {file: sha256(content) for file, content in files.items()},
        "training": {},
        "metrics": {},
        "software": {},
        "golden": {
            category: {"raw_scores": golden_images.raw_scores, "tolerance": golden_images.tolerance}
            for category, golden_images in (golden or {}).items()
        },
    }
    folder = root / name / "1"
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    text = Manifest.from_values(json.loads(json.dumps(values))).to_json()
    (folder / "manifest.json").write_text(text, "utf-8")
    return folder
