"""What a browser asks the page for: filters, and the parts that it judged before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode
from uuid import UUID

from service.archive.identifiers import parse_id
from service.archive.searching.awaiting import Queue

MAX_TRAIL = 20

_MAX_CHARS = 256
_OLDEST = "oldest"


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters of the page, and the ids of the parts judged before, the last one at the end."""

    category: str = ""
    station: str = ""
    order: str = ""
    trail: Sequence[UUID] = ()

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> "Asked":
        """Read a query or a form."""
        return cls(
            category=fields.get("category", "").strip()[:_MAX_CHARS],
            station=fields.get("station", "").strip()[:_MAX_CHARS],
            order=_OLDEST if fields.get("order") == _OLDEST else "",
            trail=tuple(_ids_in(fields.get("trail", ""))),
        )

    def after(self, judged: UUID) -> "Asked":
        """Return the same with one more part judged."""
        trail = [one for one in self.trail if one != judged]
        return replace(self, trail=(*trail, judged)[-MAX_TRAIL:])

    def without(self, identifier: UUID) -> "Asked":
        """Return the same with a part that is not judged any more."""
        return replace(self, trail=tuple(one for one in self.trail if one != identifier))

    @property
    def query(self) -> str:
        """The filters as a query of the page."""
        given = {"category": self.category, "station": self.station, "order": self.order}
        return urlencode({name: value for name, value in given.items() if value})

    @property
    def trail_text(self) -> str:
        """The trail as a form has it."""
        return ",".join(map(str, self.trail))

    def queue(self, share: float) -> Queue:
        """Return the queue that the filters ask for."""
        return Queue(
            category=self.category or None,
            station=self.station or None,
            is_oldest_first=self.order == _OLDEST,
            share=share,
        )


def _ids_in(text: str) -> list[UUID]:
    """Return the ids of a list with commas; what is no id is left out."""
    ids = list[UUID]()
    for part in text.split(",")[-MAX_TRAIL:]:
        try:
            ids.append(parse_id(part))
        except ValueError:
            continue
    return ids
