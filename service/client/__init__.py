"""Blocking and async clients of the service: images in, typed results out.

    with Client("http://127.0.0.1:8000") as client:
        (result,) = client.detect("cell.png", category="solar-mono", heatmap="overlay")
        if not result.is_ok:
            result.heatmap.save("cell-heatmap.png")

A part that was not inspected never looks OK: a failed request raises, a failed image among others
has the `decision` UNDECIDED, and a result has no truth value. The client imports neither the
network nor the web framework.
"""

from service.client.answers import Decision, Heatmap, Model, Peak, Region, Size
from service.client.async_clients import AsyncClient
from service.client.clients import Client
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
    UnknownInspection,
)
from service.client.exchange import Retry
from service.client.images import ImageLike, ImagesLike, Part
from service.client.inspections import GivenVerdict, Inspection, Search, Verdict, View
from service.client.results import Category, Readiness, Result

__all__ = [
    "AsyncClient",
    "CannotConnect",
    "Category",
    "Client",
    "ConnectionLost",
    "DeadlineExceeded",
    "Decision",
    "GivenVerdict",
    "Heatmap",
    "ImageLike",
    "ImageRefused",
    "ImagesLike",
    "Inspection",
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
    "Search",
    "Size",
    "Unavailable",
    "UnexpectedAnswer",
    "UnknownCategory",
    "UnknownInspection",
    "Verdict",
    "View",
]
