"""A client of the service, blocking and async: images in, typed results out.

    with Client("http://127.0.0.1:8000") as client:
        (result,) = client.detect("cell.png", category="solar-mono", heatmap="overlay")
        if not result.is_ok:
            result.heatmap.save("cell-heatmap.png")

It imports neither the network nor the web framework. A part that was not inspected never reads as
OK: a request that fails raises, an image that fails among others has `decision` UNDECIDED, and a
result has no truth value of its own.
"""

from service.client.clients import AsyncClient, Client
from service.client.errors import (
    CannotConnect,
    ConnectionLost,
    DeadlineExceeded,
    ImageRefused,
    InspectionError,
    InspectionFailed,
    InvalidRequest,
    NotAllowed,
    Problem,
    Unavailable,
    UnexpectedAnswer,
    UnknownCategory,
)
from service.client.exchange import Retry
from service.client.images import ImageLike, ImagesLike, Part
from service.client.results import (
    Category,
    Decision,
    Heatmap,
    Model,
    Peak,
    Readiness,
    Region,
    Result,
    Size,
)

__all__ = [
    "AsyncClient",
    "CannotConnect",
    "Category",
    "Client",
    "ConnectionLost",
    "DeadlineExceeded",
    "Decision",
    "Heatmap",
    "ImageLike",
    "ImageRefused",
    "ImagesLike",
    "InspectionError",
    "InspectionFailed",
    "InvalidRequest",
    "Model",
    "NotAllowed",
    "Part",
    "Peak",
    "Problem",
    "Readiness",
    "Region",
    "Result",
    "Retry",
    "Size",
    "Unavailable",
    "UnexpectedAnswer",
    "UnknownCategory",
]
