"""The JSON of Lookout for Vision, with its spelling of members."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PREFIX = "/2020-11-20/"
LATEST = "latest"
BACKGROUND_COLOUR = (255, 255, 255)
ANOMALY_COLOUR = (228, 0, 43)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class PixelAnomaly(_Answer):
    """An anomaly's area and colour in the mask."""

    TotalPercentageArea: float = Field(description="fraction of the image, 0 to 1")
    Color: str = Field(description="as #RRGGBB")


class Anomaly(_Answer):
    """`background` or `anomaly`: these networks do not distinguish kinds of anomalies."""

    Name: str
    PixelAnomaly: PixelAnomaly


class ImageSource(_Answer):
    """The source of the image: always the request."""

    Type: Literal["direct"] = "direct"


class DetectAnomalyResult(_Answer):
    """The result of the image."""

    Source: ImageSource = ImageSource()
    IsAnomalous: bool = Field(description="false only for OK; true for NG and REVIEW")
    Confidence: float = Field(
        description="distance from the threshold, 0.5 to 1; 0.5 for REVIEW; not a probability"
    )
    Anomalies: list[Anomaly] = Field(description="`background` comes first")
    AnomalyMask: str = Field(description="base64 of a PNG in the geometry of the image")


class DetectAnomaliesResponse(_Answer):
    """The answer to DetectAnomalies."""

    DetectAnomalyResult: DetectAnomalyResult


HostingStatus = Literal["TRAINED", "STARTING_HOSTING", "HOSTED", "HOSTING_FAILED"]


class ProjectDescription(_Answer):
    """A category."""

    ProjectArn: str
    ProjectName: str
    CreationTimestamp: float | None = Field(None, description="when its first version was saved")
    Datasets: list[dict[str, str]] = Field(default=[], description="always empty")


class ListProjectsResponse(_Answer):
    """The answer to ListProjects."""

    Projects: list[ProjectDescription]
    NextToken: str | None = None


class DescribeProjectResponse(_Answer):
    """The answer to DescribeProject."""

    ProjectDescription: ProjectDescription


class ModelDescription(_Answer):
    """A version of the checkpoint that serves a category."""

    ModelVersion: str
    ModelArn: str
    CreationTimestamp: float | None = Field(
        None, description="when it was saved, in seconds since 1970"
    )
    Status: HostingStatus = Field(description="HOSTED accepts images; TRAINED does not serve")
    StatusMessage: str | None = Field(None, description="why it cannot be loaded")


class ListModelsResponse(_Answer):
    """The answer to ListModels."""

    Models: list[ModelDescription]
    NextToken: str | None = None


class DescribeModelResponse(_Answer):
    """The answer to DescribeModel."""

    ModelDescription: ModelDescription


class StartModelBody(BaseModel):
    """The body of StartModel; its units are ignored, because the settings set the resources."""

    MinInferenceUnits: int = Field(ge=1)
    MaxInferenceUnits: int | None = Field(None, ge=1)


class HostingResponse(_Answer):
    """The answer to StartModel and StopModel."""

    Status: HostingStatus


class LookoutError(_Answer):
    """An error; the header x-amzn-ErrorType names the exception."""

    Message: str
    ResourceId: str | None = None
    ResourceType: str | None = None


_IMAGE = {"schema": {"type": "string", "format": "binary"}}
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "An image; the service detects its format by its content.",
        "content": dict.fromkeys(("image/png", "image/jpeg"), _IMAGE),
    }
}
ERRORS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    409: "ConflictException",
    429: "ThrottlingException",
    500: "InternalServerException",
}
_EVERY: dict[int | str, dict[str, Any]] = {
    status: {"description": name, "model": LookoutError} for status, name in ERRORS.items()
}
RESPONSES = {status: answer for status, answer in _EVERY.items() if status != 409}
PROJECT_RESPONSES = RESPONSES
START_RESPONSES = _EVERY
