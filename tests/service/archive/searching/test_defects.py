"""The classes of defects that a person chooses from."""

from model.inspection import Decision
from service.archive import store
from service.archive.records import Verdict
from service.archive.searching.defects import recent_classes
from service.archive.searching.judging import NewVerdict, give


def test_the_classes_of_a_category_the_last_one_given_first(connection, part):
    records = [part(told=Decision.NG, category=c) for c in ("bolt",) * 5 + ("nut",)]
    store.insert(connection, records)
    for record, name in zip(
        records, ("crack", "scratch", None, "dent", "crack", "rust"), strict=True
    ):
        give(connection, record.inspection_id, NewVerdict(Verdict.DEFECTIVE, "Ada", name))
    assert recent_classes(connection, "bolt", 9) == ["crack", "dent", "scratch"]
    assert recent_classes(connection, "bolt", 2) == ["crack", "dent"]
    assert recent_classes(connection, "nut", 9) == ["rust"]
    assert recent_classes(connection, "screw", 9) == []
    give(connection, records[3].inspection_id, NewVerdict(Verdict.WITHDRAWN, "Ada"))
    assert recent_classes(connection, "bolt", 9) == ["crack", "scratch"]
