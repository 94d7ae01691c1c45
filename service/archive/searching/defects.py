"""The classes of defects that people gave lately.

names = recent_classes(connection, "bolt", count=9)
"""

from sqlalchemy import Connection, func, select

from service.archive.records import Verdict
from service.archive.tables import JUDGED, inspections, verdicts

_JUDGED_PARTS = 5000
_DEFECTIVE_PARTS = 200


def recent_classes(connection: Connection, category: str, count: int) -> list[str]:
    """Return the classes of the category's newest defective parts, the last one given first."""
    columns = inspections.c
    newest = (columns.received_at.desc(), columns.inspection_id.desc())
    judged = (
        select(columns.inspection_id, columns.category, columns.verdict)
        .where(JUDGED)
        .order_by(*newest)
        .limit(_JUDGED_PARTS)
        .subquery()
    )
    defective = (
        select(judged.c.inspection_id)
        .where(judged.c.category == category, judged.c.verdict == Verdict.DEFECTIVE.value)
        .limit(_DEFECTIVE_PARTS)
    )
    query = (
        select(verdicts.c.defect_class)
        .where(verdicts.c.inspection_id.in_(defective), verdicts.c.defect_class.is_not(None))
        .group_by(verdicts.c.defect_class)
        .order_by(func.max(verdicts.c.at).desc())
        .limit(count)
    )
    return [name for name in connection.execute(query).scalars() if name]
