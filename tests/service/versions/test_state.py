"""A decision either survives a restart or was never made."""

import json
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model.checkpoints.key import CheckpointKey
from service.errors import StateNotWritten
from service.versions.assignment import Assignment, Canary
from service.versions.state import AuditRecord, Deployment, State, StateUnreadable
from service.versions.thresholds import Threshold

ROOT = Path(__file__).parents[3]
ONE, TWO = CheckpointKey("parts", "1"), CheckpointKey("parts", "2")
NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
ROUTE = Assignment(stable=ONE, canary=Canary(checkpoint=TWO, share=0.25), shadow=None)
THRESHOLD = Threshold(threshold=2.5, review_threshold=2.0, who="Ada", reason="new lamp", at=NOW)


def record(number=0):
    return AuditRecord(
        at=NOW, who="Ada", caller="line-3", reason="new lamp",
        action="threshold", category="bolt", model="parts/1",
        request_id=str(number), before={"threshold": 1.0}, after={"threshold": 2.5},
    )  # fmt: skip


def decided():
    return State().with_route("bolt", ROUTE).with_threshold("bolt", "parts/1", THRESHOLD)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_change_survives_a_restart_and_leaves_nothing_else_behind(tmp_path):
    folder = tmp_path / "deep" / "state"
    Deployment(folder).commit(decided(), record())
    again = Deployment(folder)
    assert again.state == decided()
    assert again.audit == [record()]
    assert set(files(folder)) == {"deployment.json", "audit.jsonl"}


def test_the_audit_is_only_added_to_and_says_from_what_to_what(tmp_path):
    deployment = Deployment(tmp_path)
    deployment.commit(decided(), record(1))
    first = files(tmp_path)["audit.jsonl"]
    deployment.commit(State(), record(2))
    lines = files(tmp_path)["audit.jsonl"]
    assert lines.startswith(first)
    entries = [json.loads(line) for line in lines.splitlines()]
    assert [(line["who"], line["from"], line["to"], line["request_id"]) for line in entries] == [
        ("Ada", {"threshold": 1.0}, {"threshold": 2.5}, "1"),
        ("Ada", {"threshold": 1.0}, {"threshold": 2.5}, "2"),
    ]


def test_without_a_folder_it_is_kept_in_memory():
    deployment = Deployment(None)
    deployment.commit(decided(), record())
    assert (deployment.state, deployment.audit) == (decided(), [record()])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format_version": 2}', '{"routes": {"bolt": {}}}', '{"more": 1}',
     '{"thresholds": {"bolt": {"parts/1": {"threshold": "high"}}}}', "\x00\xff"],
)  # fmt: skip
def test_a_damaged_state_is_refused_by_name(tmp_path, text):
    (tmp_path / "deployment.json").write_text(text, "latin-1")
    with pytest.raises(StateUnreadable, match=r"deployment\.json is damaged.*move it away"):
        Deployment(tmp_path)


def test_a_damaged_audit_is_refused_with_its_line(tmp_path):
    Deployment(tmp_path).commit(decided(), record())
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write('{"who": "?"}\n')
    with pytest.raises(StateUnreadable, match=r"audit\.jsonl is damaged in line 2"):
        Deployment(tmp_path)


def test_a_line_torn_by_a_power_cut_is_cut_off(tmp_path, caplog):
    Deployment(tmp_path).commit(decided(), record(1))
    original = files(tmp_path)["audit.jsonl"]
    (tmp_path / "audit.jsonl").write_bytes(original + b'{"who": "Ad')
    deployment = Deployment(tmp_path)
    assert "ends with an incomplete line" in caplog.text
    deployment.commit(decided(), record(2))
    assert [entry.request_id for entry in Deployment(tmp_path).audit] == ["1", "2"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnreadable, match="cannot use state_dir"):
        Deployment(tmp_path / "file" / "state")


def refuses(deployment):
    before = (deployment.state, list(deployment.audit))
    with pytest.raises(StateNotWritten, match="was not made") as caught:
        deployment.commit(State(), record(2))
    assert (deployment.state, deployment.audit) == before
    return caught.value


def test_a_full_disk_changes_nothing(tmp_path):
    deployment = Deployment(tmp_path)
    deployment.commit(decided(), record(1))
    before = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The state fits on the disk, the audit's next line does not: its written part is removed.
    audit = len(before["audit.jsonl"])
    assert audit > len(State().model_dump_json(indent=2)) + 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (audit + 10, limits[1]))
    try:
        error = refuses(deployment)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in str(error)
    assert files(tmp_path) == before
    deployment.commit(State(), record(3))
    assert Deployment(tmp_path).state == State()


@pytest.mark.parametrize("file", ["audit.jsonl", "deployment.json"])
def test_a_file_that_cannot_be_written_changes_nothing(tmp_path, file):
    deployment = Deployment(tmp_path)
    (tmp_path / file / "in-the-way").mkdir(parents=True)
    error = refuses(deployment)
    assert error.retry_after_s > 1
    assert str(tmp_path) not in str(error)
    left = files(tmp_path)
    assert left.get("audit.jsonl", b"") == b""
    assert "deployment.json" not in left


def test_a_state_that_is_not_written_takes_its_line_of_the_audit_back(tmp_path, monkeypatch):
    deployment = Deployment(tmp_path)
    deployment.commit(decided(), record(1))
    before, replace = files(tmp_path), Path.replace

    def full(self, target):
        assert len(files(tmp_path)["audit.jsonl"]) > len(before["audit.jsonl"])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert "No space left" in str(refuses(deployment))
    assert files(tmp_path) == before
    monkeypatch.setattr(Path, "replace", replace)
    deployment.commit(State(), record(2))
    assert [entry.request_id for entry in Deployment(tmp_path).audit] == ["1", "2"]


def test_a_folder_serves_one_service_at_a_time(tmp_path):
    first = Deployment.claim(tmp_path)
    with pytest.raises(StateUnreadable, match="another running service"):
        Deployment.claim(tmp_path)
    first.commit(decided(), record())
    first.release()
    assert Deployment.claim(tmp_path).state == decided()
    assert set(files(tmp_path)) == {"deployment.json", "audit.jsonl", ".lock"}
    Deployment.claim(None).release()


def test_a_service_that_was_killed_leaves_its_folder_free(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; "
        "from service.versions.state import Deployment; "
        "held = Deployment.claim(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StateUnreadable, match="another running service"):
            Deployment.claim(tmp_path)
        other.kill()
        other.wait()
    Deployment.claim(tmp_path).release()


def test_a_folder_that_cannot_be_locked_is_used_all_the_same(tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("service.versions.state.FileLock.acquire", refuse)
    deployment = Deployment.claim(tmp_path)
    assert "make sure that no other service uses it" in caplog.text
    deployment.commit(decided(), record())
    deployment.release()


def withdrawal(number=0):
    return AuditRecord(
        at=NOW, who="Ada", caller="lead", reason="lost", action="key-withdrawn", subject="line-3",
        request_id=str(number), before=None, after={"scopes": "detect"},
    )  # fmt: skip


def test_another_change_is_recorded_beside_those_of_the_state(tmp_path):
    deployment = Deployment(tmp_path)
    deployment.commit(decided(), record(1))
    assert deployment.record(withdrawal(2), lambda: "made") == "made"
    again = Deployment(tmp_path)
    assert again.audit == deployment.audit == [record(1), withdrawal(2)]
    assert again.state == decided()


def test_a_change_that_fails_leaves_no_record(tmp_path):
    deployment = Deployment(tmp_path)
    deployment.commit(decided(), record(1))
    before = files(tmp_path)
    with pytest.raises(ZeroDivisionError):
        deployment.record(withdrawal(2), lambda: 1 / 0)
    assert (files(tmp_path), deployment.audit) == (before, [record(1)])


def test_a_change_that_cannot_be_recorded_is_not_made(tmp_path):
    deployment, made = Deployment(tmp_path), []
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(StateNotWritten):
        deployment.record(withdrawal(), lambda: made.append(1))
    assert (made, deployment.audit) == ([], [])


def test_an_audit_of_an_earlier_release_is_read(tmp_path):
    line = (
        '{"at":"2026-03-04T05:06:00Z","who":"Ada","reason":"new lamp","caller":"line-3",'
        '"action":"threshold","category":"bolt","model":"parts/1","request_id":"0",'
        '"from":{"threshold":1.0},"to":{"threshold":2.5}}\n'
    )
    (tmp_path / "audit.jsonl").write_text(line, "utf-8")
    deployment = Deployment(tmp_path)
    assert deployment.audit == [record()]
    deployment.commit(decided(), record())
    assert (tmp_path / "audit.jsonl").read_text("utf-8") == 2 * line  # that release reads it, too
