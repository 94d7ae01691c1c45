"""The page Try: a person inspects an image, and the line notices nothing of it."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from model.inspection import NAME_PATTERN, Decision
from service.api.posting.fields import AskedInText
from service.api.posting.uploads import BodyKind, read_posting
from service.api.requests import options_of, unless_client_leaves
from service.api.service import Service, ServiceDependency
from service.api.submissions import caller_name
from service.console.images.contours import contours
from service.console.images.pictures import (
    PHOTO_SIDE,
    THUMBNAIL_SIDE,
    Picture,
    data_url,
    heat_png,
)
from service.console.visits import TRYING, Visit, VisitDependency
from service.errors import InvalidRequest
from service.http.declaration import declares
from service.http.problems import problem_of
from service.http.request_log import request_id_of
from service.identifiers import new_id
from service.inspection.images.sources import Upload
from service.inspection.inspect_part import find_version
from service.inspection.options import InspectOptions
from service.inspection.request import PartRequest
from service.inspection.result import Inspected
from service.inspection.submission import Origin, Submission
from service.versions.registry import Route
from service.workers.jobs import Priority
from service.workers.pipe.messages import Finding

router = APIRouter()

_GREY_BITS = 16

_Category = Annotated[str, Path(pattern=NAME_PATTERN)]
_Sample = Annotated[str, Path(max_length=255)]
_Chosen = Annotated[str | None, Query(max_length=100)]


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial's result for the page; the scores are from 0 to 1, with 0.5 at the threshold."""

    category: str
    filename: str | None
    decision: Decision
    score: float
    raw_score: float
    threshold: float
    review_score: float | None
    checkpoint: str
    engine: str | None
    total_ms: float
    picture: Picture


@router.get("/console/try", name="try_page")
@declares(is_page=True, scope=TRYING)
async def try_page(
    visit: VisitDependency, service: ServiceDependency, category: _Chosen = None
) -> Response:
    """Show the categories, their samples, and places to drop an image."""
    routes = service.registry.routes
    samples = {route.category: visit.console.samples.names(route.category) for route in routes}
    names = [route.category for route in routes]
    chosen = category if category in names else next(iter(names), None)
    return visit.page("try.html", routes=routes, samples=samples, chosen=chosen)


@router.post("/console/try")
@declares(is_page=True, scope=TRYING)
async def try_image(
    request: Request, visit: VisitDependency, service: ServiceDependency
) -> Response:
    """Inspect the posted image; answer with the part of the page that shows the result."""
    visit.check_token()
    count(visit)
    deadline = service.inspect_part.deadline(options_of(request))
    posting = await read_posting(request, AskedInText(), service.limits, deadline, BodyKind.PART)
    (posted, *others) = posting.images
    if others:
        raise InvalidRequest(f"expected one image, got {len(posting.images)}")
    assert isinstance(posted.source, Upload)  # of a form
    return await _tried(visit, service, posting.fields.required_category(), posted.source)


@router.post("/console/samples/{category}/{name}")
@declares(is_page=True, scope=TRYING)
async def try_sample(
    visit: VisitDependency, service: ServiceDependency, category: _Category, name: _Sample
) -> Response:
    """Inspect a sample image, as `try_image` does."""
    visit.check_token()
    count(visit)
    content = visit.console.samples.read(category, name)
    return await _tried(visit, service, category, Upload(name, content))


@router.get("/console/samples/{category}/{name}")
@declares(is_page=True, scope=TRYING)
async def sample(visit: VisitDependency, category: _Category, name: _Sample) -> Response:
    """Return a small picture of a sample."""
    content = visit.console.samples.read(category, name)
    picture = await visit.console.previewer.jpeg(content, _GREY_BITS, THUMBNAIL_SIDE)
    headers = {"Cache-Control": "private, max-age=300"}
    return Response(picture, headers=headers, media_type="image/jpeg")


def count(visit: Visit) -> None:
    """Count a trial's image towards its caller's rate. Raises `RateLimited`."""
    guard, caller = visit.request.app.state.guard, visit.caller
    assert caller is not None  # the route needs a scope
    guard.count_request(caller)


async def _tried(visit: Visit, service: Service, category: str, image: Upload) -> Response:
    request = visit.request
    route = find_version(service.registry, category, None, request_id_of(request.scope))
    options = InspectOptions(
        priority=Priority.LOW,  # a trial must not delay a part on the line
        received_at=options_of(request).received_at,
        hold_answer=request.scope["state"].get("hold_answer"),
        draw=_draw,
    )
    part = PartRequest(
        category,
        [image],
        options,
        request_id_of(request.scope),
        route.checkpoint.version,
        Submission(new_id(), Origin.TEST, caller=caller_name(request), fresh=True),
    )
    result = await unless_client_leaves(request, service.inspect_part(part))
    (view,) = result.views
    if not isinstance(view, Inspected):
        problem = problem_of(view, part.request_id)
        return visit.page("try_problem.html", problem=problem, filename=image.filename)
    bits = route.preprocessing.grey_bits
    photo = await visit.console.previewer.jpeg(image.content, bits, PHOTO_SIDE)
    trial = trial_of(route, view, data_url(photo, "image/jpeg"), image.filename)
    return visit.page("try_result.html", trial=trial)


def trial_of(route: Route, view: Inspected, photo: str, filename: str | None) -> Trial:
    """Return an inspected image as the page shows it."""
    finding, (width, height) = view.finding, view.size
    assert view.picture is not None  # the options draw it
    layers: dict[str, Any] = json.loads(view.picture)
    review = route.calibration.review_threshold
    return Trial(
        category=view.category,
        filename=filename,
        decision=finding.decision,
        score=finding.score,
        raw_score=finding.raw_score,
        threshold=finding.threshold,
        review_score=None if review is None else route.calibration.score(review),
        checkpoint=f"{view.checkpoint.name}/{view.checkpoint.version}",
        engine=finding.engine,
        total_ms=view.timings_ms.get("total", 0.0),
        picture=Picture(width, height, photo, layers["heat"], layers["contours"], finding.regions),
    )


def _draw(finding: Finding, size: tuple[int, int]) -> str:
    """Draw a finding's layers as JSON; this runs in a thread."""
    scores = finding.pixel_scores
    assert scores is not None  # the options ask for a drawing
    heat = data_url(heat_png(scores), "image/png")
    return json.dumps({"heat": heat, "contours": contours(scores, size)})
