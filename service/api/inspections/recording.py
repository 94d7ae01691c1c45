"""`POST /inspections`: records a part as the line was told, and inspects its images later."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from service.api.inspections import openapi
from service.api.inspections.schemas import InspectionRow
from service.api.posting.fields import Asked, FieldsInQuery, options_for
from service.api.posting.openapi import RECORD_BODY
from service.api.posting.uploads import BodyKind, Posted, read_posting
from service.api.requests import options_of, unless_client_leaves
from service.api.service import Service, ServiceDependency
from service.api.submissions import submission_of
from service.archive.recording import Recorder
from service.errors import (
    InspectionIdReused,
    InvalidRequest,
    JournalUnavailable,
    NoArchive,
    ServiceError,
)
from service.http.declaration import Scope, declares
from service.http.inspection_ids import INSPECTION_ID_HEADER
from service.http.request_log import request_id_of
from service.inspection.request import PartRequest

router = APIRouter(tags=["inspections"])

_WITHOUT_EFFECT = ("heatmap", "priority")


@router.post(
    "/inspections",
    status_code=201,
    summary="Record a part as the line was told",
    response_model=InspectionRow,
    responses=openapi.RECORD,
    openapi_extra=RECORD_BODY,
)
@declares(scope=Scope.DETECT)
async def record(request: Request, service: ServiceDependency, query: FieldsInQuery) -> Response:
    """Post `told`, the decision that the line acted on, with images of the part or without.

    The images are inspected when no part on the line waits; the network's decision is `found`, and
    changes nothing of `told`. If the inspection id is already recorded, `told` is written there,
    and `found` if the part was not inspected before. A part whose images cannot be inspected is
    recorded without `found`; `problem` says why.
    """
    recorder = service.recorder
    if recorder is None:
        raise NoArchive(
            "this service keeps no inspections: set MAMBAAD_VERSIONS__STATE_DIR, and "
            "MAMBAAD_ARCHIVE__ENABLED if it is false"
        )
    deadline = service.inspect_part.deadline(options_of(request))
    posting = await read_posting(request, query, service.limits, deadline, BodyKind.RECORD)
    part = _part_of(request, posting.fields, posting.images)
    work = _record(service, recorder, part, deadline)
    return await unless_client_leaves(request, work)


def _part_of(request: Request, fields: Asked, images: Sequence[Posted]) -> PartRequest:
    """Return the part that was told. Raises `InvalidRequest`, or `InvalidInspectionId`."""
    category = fields.required_category()
    if fields.told is None:
        raise InvalidRequest("no told: expected the decision that the line acted on")
    if useless := [name for name in _WITHOUT_EFFECT if getattr(fields, name) is not None]:
        raise InvalidRequest(f"{useless[0]} has no effect on a part that is only recorded")
    return PartRequest(
        category,
        [image.source for image in images],
        options_for(fields, options_of(request)),
        request_id_of(request.scope),
        submission=submission_of(request, fields),
    )


async def _record(
    service: Service, recorder: Recorder, part: PartRequest, deadline: float
) -> Response:
    if not part.views:
        await recorder.tell(part, deadline)
    else:
        await _inspect(service, recorder, part, deadline)
    inspection_id = part.submission.inspection_id
    found = await recorder.find(inspection_id)
    if found is None:  # deleted by an operator at this moment
        raise JournalUnavailable(f"the inspection {inspection_id} was recorded and is gone again")
    content = to_json(InspectionRow.of(found))
    headers = {INSPECTION_ID_HEADER: str(inspection_id)}
    return Response(content, 201, headers, media_type="application/json")


async def _inspect(
    service: Service, recorder: Recorder, part: PartRequest, deadline: float
) -> None:
    """Inspect a part for the record; what the line was told is recorded in any case."""
    try:
        result = await service.inspect_part(part)
    except (InspectionIdReused, JournalUnavailable):
        raise
    except ServiceError as error:
        await recorder.tell(part, deadline, error)
        return
    if result.archived is not True:
        await recorder.tell(part, deadline)
