"""Good parts' pictures at the size of the network's canvas, and their inputs."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from model.dataset import Sample
from model.images.areas import Areas
from model.images.decoding import open_image
from model.images.framing import Frame
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize

_ROOM_BYTES = 256 * 2**20


class PartPicture:
    """One part: its picture without margins, its frame, and its inspected pixels (None: all)."""

    def __init__(self, sample: Sample, preprocessing: Preprocessing, areas: Areas) -> None:
        image = preprocessing.upright(open_image(sample.path))
        self.frame: Frame = preprocessing.frame(ImageSize(image.height, image.width))
        (top, left), (height, width) = self.frame.origin, self.frame.scaled
        canvas = self.frame.pixels(image)
        self.pixels: UInt8[np.ndarray, "3 h w"] = canvas[:, top : top + height, left : left + width]
        self.inside: Bool[np.ndarray, "h w"] | None = areas.inside(sample.category, (height, width))

    def inputs(self, pixels: UInt8[np.ndarray, "3 h w"]) -> UInt8[np.ndarray, "n 3 H W"]:
        """Return the network's inputs of this picture, or of a changed one of its size."""
        frame = self.frame
        sides = zip(frame.origin, frame.canvas, frame.scaled, strict=True)
        margins = [(start, total - start - part) for start, total, part in sides]
        return frame.cut(np.pad(pixels, [(0, 0), *margins], mode="edge"))


class PartPictures:
    """The pictures of several parts; the first ones stay in memory."""

    def __init__(
        self, samples: Sequence[Sample], preprocessing: Preprocessing, areas: Areas
    ) -> None:
        self._samples = samples
        self._preprocessing = preprocessing
        self._areas = areas
        self._room = _ROOM_BYTES
        self._pictures: dict[int, PartPicture] = {}

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self._samples)

    def __getitem__(self, number: int) -> PartPicture:
        """Read a part's picture; raises `ImageError` for an unusable file."""
        if number in self._pictures:
            return self._pictures[number]
        picture = PartPicture(self._samples[number], self._preprocessing, self._areas)
        if picture.pixels.nbytes <= self._room:
            self._room -= picture.pixels.nbytes
            self._pictures[number] = picture
        return picture
