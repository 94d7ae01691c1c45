"""The JSON of Lookout for Vision; its members are written as there."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PREFIX = "/2020-11-20/"
LATEST = "latest"
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


HostingStatus = Literal["TRAINED", "STARTING_HOSTING", "HOSTED", "HOSTING_FAILED"]


class ProjectDescription(_Answer):
    """A category."""

    ProjectArn: str
    ProjectName: str
    CreationTimestamp: float | None = Field(None, description="when its first version was saved")
    Datasets: list[dict[str, str]] = Field(default=[], description="there are none here")


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
    Status: HostingStatus = Field(description="HOSTED can be sent images; TRAINED serves nothing")
    StatusMessage: str | None = Field(None, description="why it cannot be loaded")


class ListModelsResponse(_Answer):
    """The answer to ListModels."""

    Models: list[ModelDescription]
    NextToken: str | None = None


class DescribeModelResponse(_Answer):
    """The answer to DescribeModel."""

    ModelDescription: ModelDescription


class StartModelBody(BaseModel):
    """The body of StartModel; how much it may use here, the service's settings say."""

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
        "description": "An image; its format is recognised by its content.",
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
