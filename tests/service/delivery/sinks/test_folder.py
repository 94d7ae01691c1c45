"""The folder: complete files, no lost line, whatever ends the service or stops the disk."""

import json
import os
import resource
import signal
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.archive.records import Event, EventKind
from service.delivery.message import MessageMaker
from service.delivery.sinks.folder import FolderSink
from service.delivery.sinks.sink import TAKEN, Held, Place, Reason, SinkUnusable
from service.inspection.submission import Origin
from service.settings.sinks import FolderSettings
from tests.service.delivery.journals import NODE, inspection, parts, record

MAKER = MessageMaker("Plant 2", NODE)


def parcels(first: int, count: int, **changes):
    made = []
    for number in range(first, first + count):
        record = inspection(part_id=str(number), **changes)
        of_event = Event(
            number, record.inspection_id, record.inspection_id, EventKind.INSPECTION,
            datetime.now(UTC), "press 1", number, Origin.LINE,
        )  # fmt: skip
        made.append(MAKER.pack(of_event, record))
    return made


def lines(folder: Path) -> list[dict]:
    """Read all complete files, in the order of their first events."""
    files = sorted(
        folder.glob("*.jsonl"), key=lambda file: int(file.stem.split("_")[-1].split("-")[0])
    )
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


@pytest.fixture
def sink(tmp_path):
    """Make sinks of a folder, for a node."""
    made = []

    def make(node: str = NODE, find_image=None, **changes) -> FolderSink:
        settings = FolderSettings(type="folder", path=tmp_path / "results", **changes)
        made.append(FolderSink("files", settings, Place("Plant 2", node, node, find_image)))
        return made[-1]

    return make


def test_a_file_appears_complete_when_it_is_full(sink, tmp_path):
    of_three = sink(max_lines=3)
    first = parcels(1, 5)
    outcomes = of_three.deliver(first)
    assert outcomes == [TAKEN] * 3
    assert of_three.deliver(first[3:]) == [TAKEN] * 2
    assert [line["part_id"] for line in lines(tmp_path / "results")] == ["1", "2", "3"]
    of_three.close()
    assert [line["part_id"] for line in lines(tmp_path / "results")] == ["1", "2", "3", "4", "5"]
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert [name.split("_")[1:] for name in names] == [[NODE, "1.jsonl"], [NODE, "4.jsonl"]]


def test_a_file_appears_when_its_time_is_up_though_nothing_comes(sink, tmp_path):
    brief = sink(close_after_s=1e-6)
    brief.deliver(parcels(1, 1))
    assert not lines(tmp_path / "results")
    assert brief.tend() == TAKEN
    assert len(lines(tmp_path / "results")) == 1


def test_a_file_that_a_crash_has_left_is_finished_without_its_torn_line(sink, tmp_path):
    sink().deliver(parcels(1, 3))
    (part,) = (tmp_path / "results").glob("*.part")
    with part.open("ab") as file:
        file.write(b'{"message_version":1,"torn' + b"x" * 200_000)
    after = sink()
    assert after.tend() == TAKEN
    assert [line["part_id"] for line in lines(tmp_path / "results")] == ["1", "2", "3"]
    after.deliver(parcels(4, 1))
    after.close()
    assert [line["part_id"] for line in lines(tmp_path / "results")] == ["1", "2", "3", "4"]


def test_an_empty_file_of_a_crash_is_removed(sink, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / f"2026-11-29T23-05_{NODE}_1.jsonl.part").write_bytes(b'{"torn')
    sink().tend()
    assert list((tmp_path / "results").iterdir()) == []


def test_repeats_after_a_crash_replace_no_file(sink, tmp_path):
    for _ in range(3):
        one = sink()
        one.deliver(parcels(1, 2))
        one.close()
    assert len(lines(tmp_path / "results")) == 6


def test_another_nodes_unfinished_file_is_left_alone(sink, tmp_path):
    other = sink(node=f"x_{NODE}")
    other.deliver(parcels(1, 1))
    sink().tend()
    assert len(list((tmp_path / "results").glob("*.part"))) == 1
    other.close()


def test_a_full_disk_holds_the_sink_and_leaves_no_half_line(sink, tmp_path):
    held_up = sink()
    assert held_up.deliver(parcels(1, 1)) == [TAKEN]
    (part,) = (tmp_path / "results").glob("*.part")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (part.stat().st_size + 100, hard))
    try:
        (outcome,) = held_up.deliver(parcels(2, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert isinstance(outcome, Held)
    assert "cannot be written" in outcome.detail
    assert held_up.deliver(parcels(2, 1)) == [TAKEN]
    held_up.close()
    assert [line["part_id"] for line in lines(tmp_path / "results")] == ["1", "2"]


def test_a_folder_that_is_not_there_holds_the_sink(tmp_path):
    settings = FolderSettings(type="folder", path=tmp_path / "gone" / "results")
    away = FolderSink("files", settings, Place("s", NODE, NODE))
    (outcome,) = away.deliver(parcels(1, 1))
    assert isinstance(outcome, Held)
    assert outcome.reason is Reason.UNREACHABLE
    (tmp_path / "gone").mkdir()
    assert away.deliver(parcels(1, 1)) == [TAKEN]
    away.close()


def test_images_lie_beside_the_lines_once(sink, tmp_path):
    image = tmp_path / "kept.png"
    image.write_bytes(b"pixels")
    kept = "ab" * 32
    with_images = sink(find_image=lambda sha256, _: image if sha256 == kept else None, images=True)
    assert with_images.deliver(parcels(1, 3)) == [TAKEN] * 3
    beside = tmp_path / "results" / "images"
    assert [path.name for path in beside.iterdir()] == [f"{kept}.png"]
    assert (beside / f"{kept}.png").read_bytes() == b"pixels"
    image.unlink()
    assert with_images.deliver(parcels(4, 1)) == [TAKEN]
    with_images.close()


def test_an_image_on_another_file_system_is_copied(sink, tmp_path, monkeypatch):
    image = tmp_path / "kept.png"
    image.write_bytes(b"pixels")

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with_images = sink(find_image=lambda *_: image, images=True)
    with_images.deliver(parcels(1, 1))
    copied = tmp_path / "results" / "images" / f"{'ab' * 32}.png"
    assert copied.read_bytes() == b"pixels"
    assert stat.S_ISREG(copied.stat().st_mode)
    with_images.close()


def test_a_nodes_name_cannot_lead_out_of_the_folder(sink):
    with pytest.raises(SinkUnusable, match="without /"):
        sink(node="../x")


def test_every_event_of_the_journal_is_a_line(journal, deliver, tmp_path, eventually):
    deliveries = deliver(files={"type": "folder", "path": tmp_path / "results", "max_lines": 40})
    record(journal, parts(100))
    eventually(lambda: deliveries.status()[0].depth == 0)
    deliveries.stop()
    assert [line["number"] for line in lines(tmp_path / "results")] == [*range(1, 101)]
