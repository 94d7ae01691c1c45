"""The route that a person wants for a category, from the fields of a form.

target = target_of(service, "bolt", RouteFields(stable="bolts/4", canary="bolts/5", share=10))
target.assignment.canary.share      # 0.1
"""

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.api.service import Service
from service.errors import InvalidRequest
from service.versions.assignment import Assignment, Canary
from service.versions.state import AuditRecord

_MAX_MODEL = 1000
"""The store's names are escaped, so that one may be longer than a checkpoint's may be."""

_ModelText = Annotated[str, Field(max_length=_MAX_MODEL)]


class RouteFields(BaseModel):
    """A route as a form writes it: versions as "name/version", and the share in percent.

    An empty text is no version. `revision` is that of the route that the person saw.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    stable: _ModelText
    canary: _ModelText = ""
    share: float = Field(10.0, gt=0, lt=100)
    shadow: _ModelText = ""
    revision: str = Field("", max_length=100)


@dataclass(frozen=True, slots=True)
class RollBack:
    """The route before the latest change, and that change; `problem` says why it cannot return."""

    change: AuditRecord
    assignment: Assignment
    problem: str | None = None


def target_of(service: Service, fields: RouteFields) -> Assignment:
    """Return the route of a form; canary and shadow are dropped if they become stable.

    Raises `NoSuchModel`, or `InvalidRequest` for a text that names no version.
    """
    stable = _key(service, fields.stable)
    canary = _key(service, fields.canary) if fields.canary else None
    shadow = _key(service, fields.shadow) if fields.shadow else None
    draw = None
    if canary is not None and canary != stable:
        draw = Canary(checkpoint=canary, share=fields.share / 100)
    return Assignment(stable=stable, canary=draw, shadow=None if shadow == stable else shadow)


def fields_of(assignment: Assignment, revision: str) -> RouteFields:
    """Return the fields of a form that sets this route."""
    canary = assignment.canary
    return RouteFields(
        stable=str(assignment.stable),
        canary=str(canary.checkpoint) if canary else "",
        share=round(100 * canary.share, 10) if canary else 10.0,
        shadow=str(assignment.shadow) if assignment.shadow else "",
        revision=revision,
    )


def roll_back(service: Service, category: Category) -> RollBack | None:
    """Return the route before the latest change; None if there was none."""
    change = next(iter(service.rollout.history(category, "route")), None)
    assignment = assignment_in(change.before) if change else None
    if change is None or assignment is None:
        return None
    back = RollBack(change, assignment)
    for _, key in assignment.roles():
        version = next((one for one in service.registry.versions if one.key == key), None)
        if version is None or category not in version.categories:
            reason = service.lifecycle.problem(key) or "it is not in the store any more"
            return replace(back, problem=f"{key}: {reason}")
    return back


def assignment_in(values: object) -> Assignment | None:
    """Return a route as the audit has it; None for nothing."""
    if values is None:
        return None
    try:
        return Assignment.model_validate(values)
    except ValidationError:  # written by a later release
        return None


def canary_since(service: Service, category: Category) -> AuditRecord | None:
    """Return the change since which these stable and canary versions share the category."""
    assignment = service.registry.assignments.get(category)
    if assignment is None or assignment.canary is None:
        return None
    pair = (assignment.stable, assignment.canary.checkpoint)
    oldest = None
    for record in service.rollout.history(category, "route"):
        then = assignment_in(record.after)
        if then is None or then.canary is None or (then.stable, then.canary.checkpoint) != pair:
            break
        oldest = record
    return oldest


def _key(service: Service, text: str) -> CheckpointKey:
    name, slash, version = text.rpartition("/")
    if not slash:
        raise InvalidRequest(f"expected a version as name/version, got {text[:100]!r}")
    return service.registry.version(name, version).key
