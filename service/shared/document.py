"""The state that nodes share: everything in it has one version."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field

from service.access.keys import ApiKey
from service.versions.state import AuditRecord, State


class Place(BaseModel):
    """Which version a state is, and of which history.

    `lineage` is new with each installation. `generation` grows when an operator declares a state
    the newest; within one, a later version descends from each earlier one. `change_id` tells two
    versions of the same number apart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lineage: UUID = Field(default_factory=uuid4)
    generation: int = Field(1, ge=1)
    version: int = Field(1, ge=1)
    change_id: UUID = Field(default_factory=uuid4)


class SharedState(BaseModel):
    """Routes, thresholds and keys of one version, and who made it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    place: Place = Field(default_factory=Place)
    deployment: State = State()
    keys: tuple[ApiKey, ...] = ()
    at: datetime
    who: str
    node: str

    def followed_by(
        self,
        record: AuditRecord,
        node: str,
        *,
        deployment: State | None = None,
        keys: Sequence[ApiKey] | None = None,
    ) -> "SharedState":
        """Return the next version."""
        place = self.place.model_copy(
            update={"version": self.place.version + 1, "change_id": uuid4()}
        )
        return SharedState(
            place=place,
            deployment=self.deployment if deployment is None else deployment,
            keys=self.keys if keys is None else tuple(keys),
            at=record.at,
            who=record.who,
            node=node,
        )

    def declared_newest(
        self, record: AuditRecord, node: str, *, instead_of: Place | None = None, above: int = 0
    ) -> "SharedState":
        """Return the same state as the first of a new generation.

        Its version is over `above` and over that of the state that it replaces.
        """
        places = [self.place] if instead_of is None else [self.place, instead_of]
        place = Place(
            lineage=self.place.lineage,
            generation=max(place.generation for place in places) + 1,
            version=max(above, *(place.version for place in places)) + 1,
        )
        return self.model_copy(
            update={"place": place, "at": record.at, "who": record.who, "node": node}
        )


class Relation(StrEnum):
    """How a state in the PostgreSQL stands to the one that a node knows."""

    SAME = "same"
    NEWER = "newer"
    OLDER = "older"
    FOREIGN = "foreign"


def relation(known: Place, there: Place, *, has_known: bool) -> Relation:
    """Compare the place in the PostgreSQL with the known one.

    `has_known` says whether the PostgreSQL's history has the known change.
    """
    if there.lineage != known.lineage:
        return Relation.FOREIGN
    if there == known:
        return Relation.SAME
    if there.generation != known.generation:
        return Relation.NEWER if there.generation > known.generation else Relation.OLDER
    if there.version < known.version:
        return Relation.OLDER
    return Relation.NEWER if has_known else Relation.FOREIGN


def first_state(
    deployment: State, keys: Sequence[ApiKey], record: AuditRecord, node: str
) -> SharedState:
    """Return the first version of a new installation."""
    return SharedState(
        deployment=deployment, keys=tuple(keys), at=record.at, who=record.who, node=node
    )
