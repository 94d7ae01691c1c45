"""Parts of the service's answers as types. Fields that this client does not know are dropped."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Decision(StrEnum):
    """The decision on a part; UNDECIDED means that it was not inspected."""

    OK = "OK"
    NG = "NG"
    REVIEW = "REVIEW"
    UNDECIDED = "UNDECIDED"


class AnswerPart(BaseModel):
    """Base of an answer's parts."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, arbitrary_types_allowed=True
    )


class Size(AnswerPart):
    """Width and height in pixels."""

    width: int
    height: int


class Peak(AnswerPart):
    """A region's most anomalous pixel."""

    x: int
    y: int


class Region(AnswerPart):
    """A connected patch of anomalous pixels, in pixels of the upright input image."""

    x: int
    y: int
    width: int
    height: int
    area_px: int
    peak: Peak
    peak_score: float


class Model(AnswerPart):
    """The checkpoint that inspected the image."""

    name: str
    version: str


class Heatmap(AnswerPart):
    """The file of a heatmap."""

    content: bytes = Field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the file, create its folder if necessary, and return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        return path
