"""The JSON of Lookout for Vision's DetectAnomalies; its members are written as there."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PREFIX = "/2020-11-20/"
BACKGROUND_COLOUR = (255, 255, 255)
ANOMALY_COLOUR = (228, 0, 43)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class PixelAnomaly(_Answer):
    """How much of the mask a kind of anomaly covers, and in which colour."""

    TotalPercentageArea: float = Field(description="share of the image, 0 to 1")
    Color: str = Field(description="as #RRGGBB")


class Anomaly(_Answer):
    """`background`, or `anomaly`: the networks here know no kinds of anomalies."""

    Name: str
    PixelAnomaly: PixelAnomaly


class ImageSource(_Answer):
    """Where the image came from: always the request itself."""

    Type: Literal["direct"] = "direct"


class DetectAnomalyResult(_Answer):
    """What was found in the image."""

    Source: ImageSource = ImageSource()
    IsAnomalous: bool = Field(description="false for OK alone; true for NG and REVIEW")
    Confidence: float = Field(
        description="distance from the threshold, 0.5 to 1; 0.5 for REVIEW; no probability"
    )
    Anomalies: list[Anomaly] = Field(description="`background` comes first")
    AnomalyMask: str = Field(description="base64 of a PNG in the geometry of the image")


class DetectAnomaliesResponse(_Answer):
    """The answer to DetectAnomalies."""

    DetectAnomalyResult: DetectAnomalyResult


class LookoutError(_Answer):
    """An error; the header x-amzn-ErrorType names the exception."""

    Message: str
    ResourceId: str | None = None
    ResourceType: str | None = None


_IMAGE = {"schema": {"type": "string", "format": "binary"}}
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "An image; its format is recognised by its content.",
        "content": dict.fromkeys(("image/png", "image/jpeg"), _IMAGE),
    }
}
ERRORS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": name, "model": LookoutError} for status, name in ERRORS.items()
}
