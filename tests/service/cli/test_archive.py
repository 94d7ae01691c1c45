"""`mambaad archive`: finds, exports, deletes, saves and checks, and refuses in words."""

import csv
import errno
import hashlib
import io
import json
import os
import re
import time
from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from PIL import Image
from sqlalchemy import create_engine
from typer.testing import CliRunner

from model.dataset.layouts import read_dataset
from model.inspection import Decision
from service.archive import store
from service.archive.identifiers import new_id
from service.archive.migrate import parse_url
from service.archive.records import Verdict
from service.archive.retention.deletion import delete_media
from service.archive.searching import judging
from service.archive.searching.judging import NewHold, NewVerdict
from service.cli.archive import training_folder
from service.cli.main import build_commands
from tests.service.archive.shelf import NOW, Shelf, open_shelf


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def shelf(state):
    """The archive of a state folder, while its service runs."""
    with open_shelf(state / "archive") as shelf:
        yield shelf


@pytest.fixture
def run(state, monkeypatch):
    """Run `mambaad archive` on the state folder."""
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*words, **keywords):
        names = [str(word) for word in words]
        if not {"--state", "--url", "migrate"} & {*names}:
            names += ["--state", str(state)]
        return CliRunner().invoke(build_commands(), ["archive", *names], **keywords)

    return invoke


def picture(seed: int, kind: str = "PNG") -> bytes:
    """An image file, different for each seed."""
    file = io.BytesIO()
    Image.new("RGB", (32, 24), (seed % 256, seed // 256, 7)).save(file, kind)
    return file.getvalue()


def judge(shelf: Shelf, identifier, verdict: Verdict, defect_class: str | None = None) -> None:
    new = NewVerdict(verdict, "Ada", defect_class)
    shelf.journal.write_now(lambda connection: judging.give(connection, identifier, new))


def lines(result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_search_beside_a_running_service(shelf, run):
    ng = shelf.add(2, part_id="4711", station="EL-3", score=0.9)
    ok = shelf.add(told=Decision.OK, category="nut", score=0.1, age_days=3)
    shelf.hold(ng[0])
    result = run("search")
    assert result.exit_code == 0, result.output
    heading, *rows = result.stdout.splitlines()
    assert heading.split() == [
        "received",
        "told",
        "score",
        "category",
        "station",
        "part",
        "inspection",
    ]
    assert [row.split()[2] for row in rows] == ["NG", "NG", "OK"]
    assert str(ng[0]) + " (held)" in result.stdout
    assert [row["inspection_id"] for row in lines(run("search", "--told", "OK", "--json"))] == [
        str(ok[0])
    ]
    for words in (["--part", "4711", "--held"], ["--station", "EL-3", "--held"]):
        assert [row["part_id"] for row in lines(run("search", *words, "--json"))] == ["4711"]
    old = run("search", "--before", (NOW - timedelta(days=1)).isoformat(), "--json")
    assert [row["category"] for row in lines(old)] == ["nut"]
    few = run("search", "--limit", 1)
    assert len(few.stdout.splitlines()) == 2
    assert "More than 1 match" in few.stderr
    assert "No inspection matches" in run("search", "--category", "washer").stderr


def test_a_table_fits_a_narrow_terminal(shelf, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    shelf.add(category="a" * 60, part_id="p" * 60)
    result = run("search")
    assert max(map(len, result.stdout.splitlines())) <= 90
    assert "p" * 60 in re.sub(r"[^p]", "", result.stdout)


def test_show_prints_all_that_is_known(shelf, run):
    (identifier,) = shelf.add(
        content=picture(1),
        part_id="47\x1b[31m11",
        meta={"lot": 7},
        captured_at=NOW,
        told=Decision.REVIEW,
    )
    judge(shelf, identifier, Verdict.DEFECTIVE, "crack")
    hold = NewHold(True, "Bob", "customer asks")
    shelf.journal.write_now(lambda connection: judging.give(connection, identifier, hold))
    result = run("show", identifier)
    assert result.exit_code == 0, result.output
    (view,) = shelf.find(identifier).views
    path = shelf.media.find(view.image_sha256, NOW.date())
    for words in (
        "REVIEW (from network)",
        "Ada: defective, crack",
        "Bob: held, customer asks",
        path,
    ):
        assert str(words) in result.stdout
    assert "\x1b[31m" not in result.stdout
    answer = json.loads(run("show", identifier, "--json").stdout)
    assert answer["verdicts"][0]["defect_class"] == "crack"
    for wrong, message in ((new_id(), "no inspection"), ("4711", "UUIDv7"), (uuid4(), "UUIDv7")):
        refused = run("show", wrong)
        assert refused.exit_code == 2
        assert message in refused.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "--told", "FINE"], "--told: Input should be 'OK', 'NG'"),
        (["search", "--since", "yesterday"], "--since: expected a time such as 2026-11-29"),
        (["search", "--since", "2026-02-01", "--until", "2026-01-01"], "since must be before"),
        (["search", "--min-score", "2"], "--min-score"),
        (["search", "--database", "mysql://x/y"], "expected a URL such as postgresql://"),
        (["search", "--database", "postgresql://127.0.0.1:1/none"], "cannot be used"),
        (["search", "--url", "line-3"], "expected a URL such as http://"),
        (["search", "--url", "http://127.0.0.1:1"], "cannot be reached"),
        (["export", "--format", "xml"], "expected csv or jsonl"),
        (["export", "--assume", "found"], "--assume: expected told"),
        (["purge"], "name what to delete"),
        (["backup", "."], "exists: give the name of a new folder"),
        (["restore", "/nowhere"], "no complete backup"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(shelf, run, words, message):
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("mambaad archive: ")
    assert message in result.stderr


def test_without_a_journal_or_a_state_every_command_says_so(run, tmp_path, monkeypatch):
    commands = (["search"], ["show", new_id()], ["export"], ["check"], ["backup", tmp_path / "b"],
                ["purge", "--told", "OK"])  # fmt: skip
    for words in commands:
        result = run(*words, "--state", tmp_path)
        assert (result.exit_code, "there is no journal in" in result.stderr) == (2, True), words
    monkeypatch.delenv("MAMBAAD_VERSIONS__STATE_DIR", raising=False)
    result = CliRunner().invoke(build_commands(), ["archive", "search"])
    assert (result.exit_code, "which archive?" in result.stderr) == (2, True)


def test_rows_are_exported_safe_for_spreadsheets(shelf, run, tmp_path):
    formulas = ['=HYPERLINK("http://x")', "@SUM(A1)", "-2+3", "\uff1d1+1", "\tx", " =1"]
    texts = ['say "hi", a\r\nb', "4711", "ü;é", "\U0001f600"]
    for part_id in formulas + texts:
        shelf.add(part_id=part_id, raw_score=-1.5, with_map=False, with_image=False)
    result = run("export", "--output", tmp_path / "rows.csv")
    assert result.exit_code == 0, result.output
    assert "10 inspections exported" in result.stderr
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [f"'{part}" for part in formulas] + texts
    assert [row["part_id"] for row in rows] == cells[::-1]
    assert {row["raw_score"] for row in rows} == {"-1.5"}
    piped = run("export", "--format", "jsonl")
    parts = [json.loads(line)["part_id"] for line in piped.stdout.splitlines()]
    assert parts == (formulas + texts)[::-1]
    assert run("export").stdout_bytes == (tmp_path / "rows.csv").read_bytes()
    again = run("export", "--output", tmp_path / "rows.csv")
    assert (again.exit_code, "exists" in again.stderr) == (2, True)


@pytest.fixture
def judged(shelf):
    """Parts with pictures, most of them judged; return their ids by what they are."""
    ids = {}
    for number in range(40):
        (ids["good", number],) = shelf.add(content=picture(number), told=Decision.OK)
        judge(shelf, ids["good", number], Verdict.GOOD)
    for number, defect_class in enumerate(["crack", "crack", "Kratzer groß", "OK", "test", None]):
        (identifier,) = shelf.add(content=picture(100 + number, "JPEG"))
        judge(shelf, identifier, Verdict.DEFECTIVE, defect_class)
        ids[defect_class, number] = identifier
    (unsure,) = shelf.add(content=picture(200), told=Decision.OK)
    judge(shelf, unsure, Verdict.UNSURE)
    (ids["told ok", 0],) = shelf.add(content=picture(201), told=Decision.OK)
    (ids["told ng", 0],) = shelf.add(content=picture(202), told=Decision.NG)
    shelf.add(content=picture(203), told=Decision.UNDECIDED)
    return ids


def test_images_are_exported_as_a_folder_that_training_reads(judged, shelf, run, tmp_path):
    folder = tmp_path / "bolts"
    result = run("export", "--category", "bolt", "--images", folder)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "4  left out: inspections without a decisive verdict" in result.stderr
    dataset = read_dataset(folder)
    assert dataset.layout == "mvtec"
    assert dataset.categories == ("bolt",)
    assert dataset.passed_over == ()
    assert all(sample.is_good for sample in dataset.train)
    good_in_test = sum(sample.is_good for sample in dataset.test)
    assert 2 <= good_in_test <= 16
    assert len(dataset.train) + good_in_test == 40
    defects = Counter(sample.defect for sample in dataset.test if not sample.is_good)
    assert defects.total() == 6
    assert {"crack", "Kratzer-gross", "defective"} < set(defects)
    assert defects["crack"] == 2
    with (tmp_path / "bolts.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*.*g")}
    assert rows.keys() == files
    for name, row in rows.items():
        assert row["inspection_id"] in name
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == row["sha256"]
    assert {row["defect_class"] for row in rows.values()} == {
        "", "crack", "Kratzer groß", "OK", "test"
    }  # fmt: skip
    again = run("export", "--category", "bolt", "--images", folder)
    assert (again.exit_code, "exists" in again.stderr) == (2, True)


def test_decisions_count_where_nobody_judged_if_asked(judged, run, tmp_path):
    first = run("export", "--images", tmp_path / "first", "--assume", "told", "--test-share", 0)
    assert first.exit_code == 0, first.output
    good = {path.stem.rpartition("-")[0] for path in (tmp_path / "first").glob("*/train/good/*")}
    assert good == {str(judged[key]) for key in judged if key[0] in ("good", "told ok")}
    assert not list((tmp_path / "first").glob("*/test/good"))
    (path,) = (tmp_path / "first").glob(f"bolt/test/defective/{judged['told ng', 0]}-0.png")
    assert path.is_file()


def test_a_part_is_in_the_same_split_in_each_export(shelf, run, tmp_path):
    for number in range(30):
        ids = shelf.add(2, content=picture(number), told=Decision.OK, part_id=f"part {number}")
        assert len(ids) == 2
    splits = []
    for name in ("a", "b"):
        words = ("--images", tmp_path / name, "--assume", "told", "--test-share", 0.5)
        assert run("export", *words).exit_code == 0
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        splits.append({(row["part_id"], row["split"]) for row in rows})
        assert len(rows) == 60
    assert splits[0] == splits[1]
    assert len(splits[0]) == 30


def test_images_that_are_gone_or_altered_are_left_out_and_said(judged, shelf, run, tmp_path):
    record = shelf.find(judged["good", 0])
    shelf.media.find(record.views[0].image_sha256, NOW.date()).unlink()
    record = shelf.find(judged["good", 1])
    path = shelf.media.find(record.views[0].image_sha256, NOW.date())
    path.write_bytes(picture(9999))
    deleted = [judged["good", 2]]
    shelf.journal.write_now(lambda connection: delete_media(connection, deleted, 1000))
    result = run("export", "--images", tmp_path / "bolts")
    assert result.exit_code == 0, result.output
    for words in ("is not there", "was altered", "left out: image deleted"):
        assert words in result.stderr
    names = {path.stem for path in (tmp_path / "bolts").rglob("*.png")}
    for number in range(3):
        assert f"{judged['good', number]}-0" not in names
    assert len(names) == 37


def test_an_export_that_fails_leaves_nothing(judged, run, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training_folder, "rename_if_free", refuse)
    result = run("export", "--images", tmp_path / "out" / "bolts")
    assert (result.exit_code, "No space left" in result.stderr) == (2, True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_purge_says_what_goes_asks_and_leaves_what_is_protected(state, run):
    with open_shelf(state / "archive") as shelf:
        ids = shelf.add(3, category="trial")
        held = shelf.add(category="trial", told=Decision.OK)
        shelf.hold(*held)
        shelf.deliver("mes", 4)
        late = shelf.add(2, category="trial")
        other = shelf.add()
    words = ("purge", "--category", "trial")
    for result in (run(*words, "--dry-run"), run(*words, input="n\n")):
        assert "6 inspections match" in result.stdout
        assert "1 OK" in result.stdout
        assert "1 are held and stay" in result.stdout
        assert "2 were not delivered to every sink yet and stay" in result.stdout
    assert result.exit_code == 1
    with open_shelf(state / "archive") as shelf:
        assert len(shelf.ids()) == 7
    result = run(*words, "--media-only", "--yes", "--who", "Ada")
    assert "3 inspections lost 6 files" in result.stdout
    result = run(*words, "--yes", "--who", "Ada")
    assert "3 inspections and 0 files deleted" in result.stdout, result.output
    with open_shelf(state / "archive") as shelf:
        assert shelf.ids() == {*held, *late, *other}
        assert shelf.files() == shelf.files_of(*held, *late, *other)
    purges = (state / "archive" / "purges.jsonl").read_text("utf-8")
    log = [json.loads(line) for line in purges.splitlines()]
    assert [(line["who"], line["deleted"], line["media_only"]) for line in log] == [
        ("Ada", 3, True), ("Ada", 3, False),
    ]  # fmt: skip
    assert log[0]["filter"] == {"category": "trial"}
    assert ids


def test_a_purge_beside_a_running_service_is_refused(shelf, run):
    shelf.add()
    result = run("purge", "--told", "NG", "--yes")
    assert result.exit_code == 2
    assert "another running service" in result.stderr
    assert "--url" in result.stderr
    assert len(shelf.ids()) == 1


def test_a_check_lists_problems_and_repairs_orphans(state, run):
    with open_shelf(state / "archive") as shelf:
        ids = shelf.add(3)
        assert run("check").exit_code == 0
        shelf.media.find(shelf.find(ids[0]).views[0].image_sha256, NOW.date()).unlink()
        path = shelf.media.find(shelf.find(ids[1]).views[0].image_sha256, NOW.date())
        path.write_bytes(b"altered")
        sha256, _ = shelf.media.put(b"orphan", NOW.date())
        orphan = shelf.media.find(sha256, NOW.date())
        os.utime(orphan, (time.time() - 7200,) * 2)
        result = run("check")
        assert result.exit_code == 1
        assert sorted(result.stdout.splitlines()) == sorted(
            [
                f"inspection {ids[0]}: the row's file is missing "
                f"(image {shelf.find(ids[0]).views[0].image_sha256} of {NOW:%Y-%m-%d})",
                f"{path}: the file was altered ({path} was altered: its SHA-256 is not "
                f"{path.stem})",
                f"{orphan}: no row keeps the file",
            ]
        )
        assert "3 problems" in result.stderr
        assert run("check", "--no-hashes").stderr.strip() == "2 problems."
        refused = run("check", "--repair")
        assert (refused.exit_code, "running service" in refused.stderr) == (2, True)
    repaired = run("check", "--repair")
    assert repaired.exit_code == 1
    assert f"moved {orphan.name}" in repaired.stdout
    assert (state / "archive" / "media" / "orphans" / f"{NOW:%Y-%m-%d}" / orphan.name).is_file()
    assert "2 problems" in run("check").stderr


def test_a_damaged_journal_is_a_problem_and_no_crash(state, run):
    with open_shelf(state / "archive") as shelf:
        shelf.add(200, with_image=False, with_map=False, part_id="P" * 300)
    path = state / "archive" / "journal.db"
    content = bytearray(path.read_bytes())
    for page in range(10, len(content) // 4096):
        content[page * 4096 : page * 4096 + 300] = os.urandom(300)
    path.write_bytes(content)
    result = run("check")
    assert result.exit_code == 1
    assert "the journal is damaged" in result.stdout
    assert run("search").exit_code == 2


def test_a_backup_while_the_service_runs_is_restored_and_sound(shelf, run, tmp_path):
    ids = shelf.add(3, content=picture(1), with_map=False)
    result = run("backup", tmp_path / "saved")
    assert result.exit_code == 0, result.output
    assert "3 inspections, 1 images" in result.stdout
    shelf.add(2)
    other = tmp_path / "other"
    assert run("restore", tmp_path / "saved", "--state", other).exit_code == 0
    assert run("check", "--state", other).exit_code == 0
    found = lines(run("search", "--json", "--state", other))
    assert {row["inspection_id"] for row in found} == set(map(str, ids))
    again = run("restore", tmp_path / "saved", "--state", other)
    assert (again.exit_code, "--force" in again.stderr) == (2, True)
    forced = run("restore", tmp_path / "saved", "--state", other, "--force")
    assert "is now in" in forced.stdout


def test_a_postgresql_is_searched_and_its_images_come_from_this_node(
    shelf, run, postgresql_url, tmp_path
):
    assert run("migrate", postgresql_url).stdout.startswith("schema none -> ")
    assert "nothing to do" in run("migrate", postgresql_url).stdout
    ids = shelf.add(2, content=picture(5), told=Decision.OK)
    records = [shelf.find(identifier) for identifier in ids]
    engine = create_engine(parse_url(postgresql_url))
    with engine.begin() as connection:
        store.insert(connection, records)
    engine.dispose()
    found = lines(run("search", "--json", "--database", postgresql_url))
    assert {row["inspection_id"] for row in found} == set(map(str, ids))
    words = ("--assume", "told", "--database", postgresql_url)
    result = run("export", *words, "--images", tmp_path / "bolts")
    assert "2 images" in result.stderr, result.output
    alone = CliRunner().invoke(
        build_commands(), ["archive", "export", *words, "--images", str(tmp_path / "none")]
    )
    assert "0 images" in alone.stderr, alone.output
    assert "left out: on node line-1" in alone.stderr
