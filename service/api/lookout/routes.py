"""Amazon Lookout for Vision's DetectAnomalies, whose service ended in October 2025.

A project is a category, and a model version is the checkpoint's version or `latest`. The answer has
that service's format:

- `IsAnomalous` is false only for OK: a part for REVIEW does not pass.
- `Confidence` is the distance from the threshold, 0.5 to 1, and not a probability: the score for
  NG, 1 minus the score for OK, and 0.5 for REVIEW.
- `Anomalies` has `background` and, if pixels are over the pixel threshold, `anomaly`; a
  `TotalPercentageArea` is a fraction, 0 to 1. `AnomalyMask` is a PNG in the image's geometry.

`errors` translates errors. Signatures are not verified.
"""

import base64
from dataclasses import replace
from io import BytesIO

import numpy as np
from fastapi import APIRouter, Request, Response
from PIL import Image

from model.inspection import Decision
from model.scoring import rendering
from service.api.lookout.schemas import (
    ANOMALY_COLOUR,
    BACKGROUND_COLOUR,
    LATEST,
    PREFIX,
    REQUEST_BODY,
    RESPONSES,
    Anomaly,
    DetectAnomaliesResponse,
    DetectAnomalyResult,
    PixelAnomaly,
)
from service.api.requests import options_of, read_body, unless_client_leaves
from service.api.service import Service, ServiceDependency
from service.api.submissions import expect_part, inspect, record_headers, submission_of
from service.http.decision_headers import decision_headers
from service.http.declaration import Scope, declares
from service.http.request_log import request_id_of
from service.inspection.images.sources import Upload
from service.inspection.request import PartRequest
from service.workers.pipe.messages import Finding

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
    """Inspect the image in the body; `project` is a category."""
    expect_part(request, project)
    options = options_of(request)
    deadline = service.inspect_part.deadline(options)
    content = await read_body(request, service.limits.max_image_bytes, deadline)
    part = PartRequest(
        category=project,
        views=[Upload(None, content)],
        options=replace(options, draw=_document),
        request_id=request_id_of(request.scope),
        version=None if version == LATEST else version,
        submission=submission_of(request),
    )
    return await unless_client_leaves(request, _detect(request, service, part))


async def _detect(request: Request, service: Service, part: PartRequest) -> Response:
    result = await inspect(request, service, part)
    (view,) = result.views
    if isinstance(view, Exception):
        raise view
    headers = decision_headers(view.finding.decision) | record_headers(result)
    return Response(view.picture, headers=headers, media_type="application/json")


def _document(finding: Finding, size: tuple[int, int]) -> str:
    return write(finding, size).model_dump_json()


def write(finding: Finding, size: tuple[int, int]) -> DetectAnomaliesResponse:
    """Return a finding in Lookout's format; `size` is (width, height)."""
    assert finding.pixel_scores is not None
    anomalous = np.asarray(rendering.mask(finding.pixel_scores, size)) > 0
    share = float(anomalous.mean())
    anomalies = [_anomaly("background", 1 - share, BACKGROUND_COLOUR)]
    if share:
        anomalies.append(_anomaly("anomaly", share, ANOMALY_COLOUR))
    result = DetectAnomalyResult(
        IsAnomalous=finding.decision is not Decision.OK,
        Confidence=confidence(finding),
        Anomalies=anomalies,
        AnomalyMask=base64.b64encode(_mask(anomalous)).decode("ascii"),
    )
    return DetectAnomaliesResponse(DetectAnomalyResult=result)


def confidence(finding: Finding) -> float:
    """Return the score's distance from the threshold, 0.5 to 1; 0.5 for REVIEW."""
    return max(0.5, 1 - finding.score if finding.decision is Decision.OK else finding.score)


def _anomaly(name: str, share: float, colour: tuple[int, int, int]) -> Anomaly:
    area = PixelAnomaly(TotalPercentageArea=share, Color="#" + bytes(colour).hex().upper())
    return Anomaly(Name=name, PixelAnomaly=area)


def _mask(anomalous: np.ndarray) -> bytes:
    """Return a PNG in RGB, as clients of Lookout expect."""
    picture = Image.fromarray(anomalous.view(np.uint8))
    picture.putpalette([*BACKGROUND_COLOUR, *ANOMALY_COLOUR])
    encoded = BytesIO()
    picture.convert("RGB").save(encoded, "PNG", compress_level=_PNG_COMPRESSION)
    return encoded.getvalue()
