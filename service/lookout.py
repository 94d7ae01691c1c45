"""Amazon Lookout for Vision's DetectAnomalies, for clients whose service ended in October 2025.

A project is a category, and a model version is the checkpoint's or `latest`. The answer is in that
service's words:

- `IsAnomalous` is false for OK alone: a part that a person should look at is not passed.
- `Confidence` is our score, which is 0.5 at the threshold, counted towards the side decided on:
  0.5 to 1, and 0.5 for REVIEW. It is a distance from the threshold, and no probability.
- `Anomalies` has `background` and, where pixels are over the pixel threshold, `anomaly`; a
  `TotalPercentageArea` is a share, 0 to 1. `AnomalyMask` is a PNG in the geometry of the image.

Errors are that service's, see `lookout_errors`. Signatures are not verified.
"""

import asyncio
import base64
from dataclasses import replace
from io import BytesIO

import numpy as np
from fastapi import APIRouter, Request, Response
from jaxtyping import Float32
from PIL import Image
from pydantic_core import to_json

from model import rendering
from model.inspection import Decision
from service.decisions import decision_headers
from service.declaration import Scope, declares
from service.errors import DeadlineExceeded
from service.lookout_schemas import (
    ANOMALY_COLOUR,
    BACKGROUND_COLOUR,
    PREFIX,
    REQUEST_BODY,
    RESPONSES,
    Anomaly,
    DetectAnomaliesResponse,
    DetectAnomalyResult,
    PixelAnomaly,
)
from service.middleware import request_id_of
from service.pipeline import InspectOptions
from service.registry import Route
from service.requests import options_of, read_body, unless_client_leaves
from service.schemas import ImageAnswer
from service.serving import Service, ServiceDependency, find_version
from service.uploads import Upload

LATEST = "latest"
_PNG_COMPRESSION = 1


router = APIRouter(tags=["lookout for vision"])


@router.post(
    PREFIX + "projects/{project}/models/{version}/detect",
    summary="Detect anomalies as Amazon Lookout for Vision did",
    response_model=DetectAnomaliesResponse,
    responses=RESPONSES,
    openapi_extra=REQUEST_BODY,
)
@declares(inspects=True, scope=Scope.DETECT)
async def detect_anomalies(
    request: Request, service: ServiceDependency, project: str, version: str
) -> Response:
    """Inspect the image that is the body; `project` is a category."""
    options = options_of(request)
    deadline = service.pipeline.deadline(options)
    content = await read_body(request, service.limits.max_image_bytes, deadline)
    asked = None if version == LATEST else version
    route = find_version(service.registry, project, asked, request_id_of(request.scope))
    return await unless_client_leaves(request, _detect(service, route, content, options))


async def _detect(
    service: Service, route: Route, content: bytes, options: InspectOptions
) -> Response:
    maps: list[Float32[np.ndarray, "h w"]] = []
    options = replace(options, take_scores=maps.append)
    answer = await service.pipeline.inspect(route, Upload(None, content), options)
    assert answer.image is not None
    size = (answer.image.width, answer.image.height)
    try:
        async with asyncio.timeout_at(service.pipeline.deadline(options)):
            document = await service.pipeline.threads.draw(
                size, lambda: to_json(write(answer, maps[0]))
            )
    except TimeoutError as error:
        raise DeadlineExceeded("inspected, but the answer was not written in time") from error
    if options.hold_answer:
        options.hold_answer(len(document))
    headers = decision_headers(answer.decision)
    return Response(document, headers=headers, media_type="application/json")


def write(answer: ImageAnswer, scores: Float32[np.ndarray, "h w"]) -> DetectAnomaliesResponse:
    """Say what was found in Lookout's words; `scores` are the pixels', see `Finding`."""
    assert answer.image is not None
    size = (answer.image.width, answer.image.height)
    anomalous = np.asarray(rendering.mask(scores, size)) > 0
    share = float(anomalous.mean())
    anomalies = [_anomaly("background", 1 - share, BACKGROUND_COLOUR)]
    if share:
        anomalies.append(_anomaly("anomaly", share, ANOMALY_COLOUR))
    result = DetectAnomalyResult(
        IsAnomalous=answer.decision is not Decision.OK,
        Confidence=confidence(answer),
        Anomalies=anomalies,
        AnomalyMask=base64.b64encode(_mask(anomalous)).decode("ascii"),
    )
    return DetectAnomaliesResponse(DetectAnomalyResult=result)


def confidence(answer: ImageAnswer) -> float:
    """Return the score towards the side decided on; REVIEW has decided for none."""
    assert answer.score is not None
    return max(0.5, 1 - answer.score if answer.decision is Decision.OK else answer.score)


def _anomaly(name: str, share: float, colour: tuple[int, int, int]) -> Anomaly:
    area = PixelAnomaly(TotalPercentageArea=share, Color="#" + bytes(colour).hex().upper())
    return Anomaly(Name=name, PixelAnomaly=area)


def _mask(anomalous: np.ndarray) -> bytes:
    """Return a PNG in RGB: that is what clients of Lookout have been reading."""
    picture = Image.fromarray(anomalous.view(np.uint8))
    picture.putpalette([*BACKGROUND_COLOUR, *ANOMALY_COLOUR])
    encoded = BytesIO()
    picture.convert("RGB").save(encoded, "PNG", compress_level=_PNG_COMPRESSION)
    return encoded.getvalue()
