"""The routes for operations: liveness, readiness and metrics."""

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field

from service.api.schemas import Answer, RefusalAnswer
from service.api.service import Service, ServiceDependency
from service.archive.recording import Recorder
from service.cluster.pool import ClusterPool
from service.http.declaration import Access, declares
from service.workers.protocol import SpareState, Workers

router = APIRouter()


class LiveAnswer(Answer):
    """The process answers."""

    live: bool = Field(description="always true")


class WorkerAnswer(Answer):
    """One worker."""

    name: str = Field(description="its device, plus a number if the device has several workers")
    state: str = Field(description="`ready`, or another state such as `starting`")
    reason: str = Field(description="the reason of its state")
    waiting: int = Field(description="images in its queue")
    node: str | None = Field(None, description="the machine of a cluster's worker")


class SpareAnswer(Answer):
    """The process that waits to take over from a worker."""

    state: SpareState = Field(description="`ready` to take over, or another state")
    reason: str = Field(description="the reason of its state")


class ArchiveAnswer(Answer):
    """Whether inspections are kept."""

    state: Literal["kept", "degraded", "none"] = Field(
        description="kept; degraded: the journal cannot be written now; none: nothing is kept"
    )
    reason: str | None = Field(None, description="why it is degraded, or why there is none")

    @classmethod
    def of(cls, recorder: Recorder | None) -> "ArchiveAnswer":
        """Describe the archive; None without one."""
        if recorder is None:
            return cls(state="none", reason="no state folder is set, or the archive is disabled")
        failure = recorder.failure
        return cls(state="degraded" if failure else "kept", reason=failure)


class StateAnswer(Answer):
    """The routes, thresholds and keys that this node serves by."""

    shared: bool = Field(description="whether several nodes share them in a PostgreSQL")
    version: int | None = Field(None, description="the shared version that this node serves by")
    newest: int | None = Field(None, description="the newest version that it knows")
    contact_age_s: float | None = Field(
        None, description="seconds since the PostgreSQL last answered"
    )
    problem: str | None = Field(None, description="why it does not follow the shared state now")

    @classmethod
    def of(cls, service: Service) -> "StateAnswer":
        """Describe a service's state."""
        if service.sharing is None:
            return cls(shared=False)
        status = service.sharing.status()
        return cls(
            shared=True,
            version=status.version,
            newest=status.newest,
            contact_age_s=round(status.contact_age_s, 3),
            problem=status.problem,
        )


class ClusterAnswer(Answer):
    """The cluster that this node computes with."""

    problem: str | None = Field(description="why its head or manager cannot be asked now")


class ReadyAnswer(Answer):
    """Whether images can be inspected, and the reasons if not."""

    ready: bool = Field(description="whether images can be inspected")
    reasons: list[str] = Field(description="why not")
    workers: list[WorkerAnswer] = Field(description="all workers")
    spare: SpareAnswer = Field(description="the process that takes over when a worker dies")
    refused: list[RefusalAnswer] = Field(description="the checkpoints that cannot be served")
    archive: ArchiveAnswer = Field(description="whether inspections are kept")
    cluster: ClusterAnswer | None = Field(None, description="None without a cluster")
    state: StateAnswer = Field(description="which routes, thresholds and keys this node serves by")


@router.head("/livez", include_in_schema=False)
@router.get("/livez", tags=["operations"], summary="Does the process answer?")
@declares(access=Access.OPEN, is_probe=True)
async def live() -> LiveAnswer:
    """Answer 200 while the process can answer."""
    return LiveAnswer(live=True)


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    tags=["operations"],
    summary="Can images be inspected?",
    response_model=ReadyAnswer,
    responses={503: {"model": ReadyAnswer, "description": "Not ready; `reasons` says why"}},
)
@declares(access=Access.OPEN, is_probe=True)
async def ready(service: ServiceDependency) -> Response:
    """Answer 200 once every worker is warm and at least one category can be inspected, else 503.

    In a cluster, one warm worker is enough; a head that does not answer is named.
    A shared state that cannot be followed is named, and changes no status: inspections go on.
    An archive that cannot be written is named. It changes the status only if `on_failure` is
    `refuse`, so that every part is refused.
    """
    readiness = service.readiness()
    spare = service.workers.spare()
    answer = ReadyAnswer(
        ready=readiness.ready,
        reasons=list(readiness.reasons),
        workers=[
            WorkerAnswer(
                name=worker.name,
                state=worker.state,
                reason=worker.reason,
                waiting=worker.waiting,
                node=worker.node,
            )
            for worker in service.workers.status()
        ],
        spare=SpareAnswer(state=spare.state, reason=spare.reason),
        refused=[RefusalAnswer.of(refusal) for refusal in service.registry.refusals],
        archive=ArchiveAnswer.of(service.recorder),
        cluster=_cluster(service.workers),
        state=StateAnswer.of(service),
    )
    return JSONResponse(answer.model_dump(mode="json"), 200 if readiness.ready else 503)


def _cluster(workers: Workers) -> ClusterAnswer | None:
    return ClusterAnswer(problem=workers.problem) if isinstance(workers, ClusterPool) else None


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics",
    tags=["operations"],
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
@declares(access=Access.OPEN_FOR_METRICS, is_probe=True)
async def metrics(service: ServiceDependency) -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(
        generate_latest(service.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )
