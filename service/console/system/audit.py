"""The audit log: who has changed what, when and why, newest first."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from service.api.service import Service, ServiceDependency
from service.console.visits import CHANGING, VisitDependency
from service.http.declaration import declares
from service.versions.state import Action, AuditRecord

router = APIRouter()

_PAGE_RECORDS = 50

_Text = Annotated[str, Query(max_length=100)]
_Before = Annotated[int | None, Query(ge=0)]


@router.get("/console/system/audit")
@declares(is_page=True, scope=CHANGING)
async def page(
    visit: VisitDependency,
    service: ServiceDependency,
    action: _Text = "",
    about: _Text = "",
    who: _Text = "",
    before: _Before = None,
) -> Response:
    """Show the records that have all given values, those before a number first."""
    given = {"action": action.strip(), "about": about.strip(), "who": who.strip()}
    filters = {name: value for name, value in given.items() if value}
    matching = _matching(_all(service), filters, before)
    records = list(islice(matching, _PAGE_RECORDS + 1))
    shown, has_more = records[:_PAGE_RECORDS], len(records) > _PAGE_RECORDS
    older = urlencode({**filters, "before": shown[-1][0]}) if has_more else None
    return visit.page(
        "system_audit.html",
        section="audit",
        records=[record for _, record in shown],
        filters=given,
        is_filtered=bool(filters),
        actions=get_args(Action),
        older=older,
        newest=urlencode(filters),
        is_first=before is None,
    )


def _all(service: Service) -> Sequence[AuditRecord]:
    """Return the audit, with the changes that were refused on this node at their times."""
    audit = service.rollout.audit
    refused = service.sharing.knowledge.refused if service.sharing else []
    return sorted([*audit, *refused], key=lambda record: record.at) if refused else audit


def _matching(
    audit: Sequence[AuditRecord], filters: dict[str, str], before: int | None
) -> Iterator[tuple[int, AuditRecord]]:
    """Yield the records with their places in the file, the newest first."""
    end = len(audit) if before is None else min(before, len(audit))
    for place in range(end - 1, -1, -1):
        record = audit[place]
        if (
            filters.get("action", record.action) == record.action
            and _has(filters.get("about"), (record.category, record.subject, record.model))
            and _has(filters.get("who"), (record.who, record.caller))
        ):
            yield place, record


def _has(text: str | None, values: Sequence[str | None]) -> bool:
    """Return whether one of the values contains the text, in any case."""
    return text is None or any(text.casefold() in (value or "").casefold() for value in values)
