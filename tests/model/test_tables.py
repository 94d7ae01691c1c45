"""Tables fit 80 columns and show every name in full."""

import io
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from model.cli.data import table_of
from model.evaluation.comparing import Comparison, Difference
from model.evaluation.results import HEADINGS, CategoryMetrics, Evaluation
from model.evaluation.rivalry import Rivalry, Standing
from model.tables import NamedRows

LONG = "left-door-inner-panel-of-line-7-with-the-new-lamp_2026"
LONGER = "ein-sehr-langer-Kategoriename-über-achtzig-Zeichen-" * 2


def shown(table, width=80):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(table)
    text = console.file.getvalue()
    assert max(cell_len(line) for line in text.splitlines()) <= width
    return text


def metrics(masked=3):
    names = (*HEADINGS, "pimo_recall")
    return CategoryMetrics(good=1234, defective=5678, masked=masked, **dict.fromkeys(names, 1.0))


def test_short_names_stand_in_a_ruled_table():
    text = shown(Evaluation({"bolt": metrics(), "nut": metrics()}).table())
    assert "│ bolt" in text
    assert text.count("100.0") == 3 * (5 + 6)


def test_long_names_have_a_line_of_their_own_and_lose_no_letter():
    text = shown(Evaluation({LONG: metrics(), "nut": metrics()}).table({(LONG, "aupro"): ["Why."]}))
    assert text.count(LONG) == 2
    assert "100.0*" in text
    assert "* Why." in text
    for heading in ("Category", "defective", "F1-max", "Escapes", "AUPIMO", "1234", "5678"):
        assert heading in text


def test_a_name_wider_than_the_console_is_folded():
    lines = shown(Evaluation({LONGER: metrics()}).table()).splitlines()
    assert LONGER in "".join(lines)


def test_two_checkpoints_with_long_names():
    difference = Difference(0.5, 1.0, 0.5, (0.4, 0.6))
    differences = {LONG: {"image_auroc": difference, "false_reject_rate": difference}}
    empty = Evaluation({})
    text = shown(Comparison(empty, empty, differences, {}, ()).table((f"{LONG}/1", f"{LONG}/2")))
    for part in (f"A: {LONG}/1", f"B: {LONG}/2", "+50.0", "+40.0 to +60.0", "false_reject_rate"):
        assert part in text
    assert text.count(LONG) == 3
    assert "bolt/1" in shown(
        Comparison(empty, empty, differences, {}, ()).table(("bolt/1", "bolt/2"))
    )


def test_many_categories_beside_other_methods():
    rows = tuple(
        Standing(method, "calibrated", {"image_auroc": 0.9}, None, 0.1)
        for method in ("MambaAD", "PaDiM", "PatchCore")
    )
    text = shown(Rivalry({f"{LONG}-{n}": rows for n in range(12)}).table())
    assert all(f"{LONG}-{n}" in text for n in range(12))
    assert text.count("+10.0") >= 3 * 12


def test_the_table_of_a_data_check():
    facts = SimpleNamespace(
        train=12345, held_out=123, test_good=4567, defects={"scratch": 99, "dent": 1}, masks=100,
        sizes={f"{n}000x{n}000": 1 for n in range(1, 9)}, modes={"RGB": 1, "I;16": 2},
    )  # fmt: skip
    text = shown(table_of(SimpleNamespace(categories={LONG: facts, "nut": facts})))
    joined = " ".join(text.split())
    assert text.count(LONG) == 2
    assert "24690" in text
    assert "1000x1000, 2000x2000, 3000x3000, ... (8 in all), RGB, I;16" in joined


names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=120)
tables = st.lists(st.tuples(names, st.lists(st.integers(0, 10**6), min_size=4, max_size=4)),
                  min_size=1, max_size=5)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(rows=tables, width=st.sampled_from([60, 80, 120]))
def test_whatever_the_names_nothing_is_dropped(rows, width):
    table = NamedRows("Title", "\nCategory", ["Images\ngood", "\nbad", "Score", "AUROC"])
    for name, cells in rows:
        table.add(name, [str(cell) for cell in cells], section=len(name) > 20)
    text = shown(table, width)
    joined = text.replace("\n", "")
    for name, cells in rows:
        assert name in joined
        assert all(str(cell) in text for cell in cells)
