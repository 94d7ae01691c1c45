"""An exported ONNX file in onnxruntime, for comparison."""

import numpy as np
import onnx
import onnxruntime
from jaxtyping import UInt8

from model.inspection import Category


class Session:
    """An exported model in onnxruntime; takes categories by name."""

    def __init__(self, model: onnx.ModelProto, categories: tuple[Category, ...]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._categories = categories
        self._floating = "float" in self._session.get_inputs()[0].type

    def __call__(
        self, name: str, images: UInt8[np.ndarray, "B 3 H W"], category: Category
    ) -> np.ndarray:
        """Return one output; unknown categories use index 0."""
        index = self._categories.index(category) if category in self._categories else 0
        pixels = images.astype(np.float32) / 255 if self._floating else images
        feeds = {"image": pixels, "category": np.full(len(images), index, np.int64)}
        output: np.ndarray = self._session.run([name], feeds)[0]
        return output
