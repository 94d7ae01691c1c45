"""The archive of a service that is killed, whose client leaves, or whose disk refuses."""

import os
import resource
import signal
import time
from contextlib import closing, contextmanager

import httpx
import psutil
import pytest

from service.archive.checking.database import check_database
from service.archive.checking.files import check_hashes, check_rows, check_strays
from service.archive.checking.rollups import check_rollups
from service.archive.media import Media
from service.archive.sqlite_journal import SqliteJournal
from service.identifiers import new_id
from tests.service.archive.journals import rows_of
from tests.service.live import TIMEOUT_S, serving

HOOKS = """
import asyncio, os, signal
from pathlib import Path

folder = Path({folder!r})

def hook(record):
    async def record_or_die(self, inspection, deadline):
        if (folder / "kill-before").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        while (folder / "wait").exists():
            (folder / "waits").touch()
            await asyncio.sleep(0.01)
        recorded = await record(self, inspection, deadline)
        if (folder / "kill-after").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return recorded
    return record_or_die

from service.archive.sqlite_journal import SqliteJournal
SqliteJournal.record = hook(SqliteJournal.record)
"""
"""Kills the service, or lets it wait, before or after it writes a row, if a file says so."""


@pytest.fixture
def hooks(tmp_path):
    folder = tmp_path / "hooks"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOOKS.format(folder=str(folder)))
    return folder


@pytest.fixture
def serve(weights, hooks, tmp_path):
    """Start a service with the archive of this test."""

    def start(**settings):
        return serving(
            weights,
            path=(hooks,),
            versions__state_dir=tmp_path / "state",
            archive__min_free_bytes=0,
            http__shutdown_grace_s=0,
            workers__stop_grace_s=2,
            **settings,
        )

    return start


def ask(live, content, inspection_id, category="nut"):
    params = {"category": category, "inspection_id": str(inspection_id)}
    with live.client() as client:
        return client.post("/detect", params=params, content=content)


def killed(live, hooks, name, content, inspection_id):
    """Have the service killed with a part at hand; its client gets no answer."""
    (hooks / name).touch()
    with pytest.raises(httpx.RemoteProtocolError):
        ask(live, content, inspection_id)
    (hooks / name).unlink()
    assert live.await_end() == -signal.SIGKILL


@contextmanager
def read_archive(state):
    folder = state / "archive"
    with closing(SqliteJournal.open(folder, "test")) as journal:
        yield journal, Media(folder / "media", 0)


def problems_of(state):
    with read_archive(state) as (journal, media):
        reading = journal.reading
        found = [*check_database(reading), *check_rows(reading, media), *check_hashes(media)]
        return [*found, *check_rollups(reading), *check_strays(reading, media)]


def test_a_killed_service_has_what_it_answered_and_answers_a_retry(serve, hooks, tmp_path, image):
    state, content = tmp_path / "state", image()
    before_row, before_answer = new_id(), new_id()
    with serve() as live:
        first = ask(live, content, new_id()).json()
        killed(live, hooks, "kill-before", content, before_row)
    files = [path for path in (state / "archive" / "media").rglob("*") if path.is_file()]
    assert {path.name.partition(".")[2] for path in files} == {"png", "map.png"}
    with serve() as live:
        # The image is the first part's, too; its row was never written, so it is inspected anew.
        retried = ask(live, content, before_row).json()
        assert (retried["decision"], retried["replayed"]) == ("NG", False)
        killed(live, hooks, "kill-after", content, before_answer)
    with serve() as live:
        retried = ask(live, content, before_answer).json()
        assert (retried["decision"], retried["replayed"]) == ("NG", True)
        assert ask(live, content, first["inspection_id"]).json()["replayed"]
        assert live.stop() == 0
    assert problems_of(state) == []
    with read_archive(state) as (journal, _):
        ids = [str(row.inspection_id) for row in rows_of(journal)]
    assert ids == [first["inspection_id"], str(before_row), str(before_answer)]


@contextmanager
def full_disk(live):
    """Let every write to a file of the front process fail."""
    limits = live.front.rlimit(psutil.RLIMIT_FSIZE)
    live.front.rlimit(psutil.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        live.front.rlimit(psutil.RLIMIT_FSIZE, limits)


def readiness(live):
    with live.client() as client:
        response = client.get("/readyz")
    return response.status_code, response.json()["archive"]["state"]


def until(condition):
    ends = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def leave_early(live, hooks, content, inspection_id):
    """Close the connection when the part is decided and not yet recorded."""
    (hooks / "wait").touch()
    head = (
        f"POST /detect?category=nut&inspection_id={inspection_id} HTTP/1.1\r\n"
        f"Host: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with live.connect(head.encode(), content):
        until((hooks / "waits").exists)
    time.sleep(0.2)  # the service has seen it leave
    (hooks / "wait").unlink()


def test_a_client_that_leaves_and_a_disk_that_refuses(serve, hooks, image):
    content, early = image(), new_id()
    with serve() as live:
        leave_early(live, hooks, content, early)
        retried = ask(live, content, early).json()
        assert (retried["decision"], retried["replayed"]) == ("NG", True)
        with full_disk(live):
            answer = ask(live, content, new_id())
            assert (answer.status_code, answer.json()["decision"]) == (200, "NG")
            assert answer.json()["archived"] is False
            assert readiness(live) == (200, "degraded")
            metric = 'mambaad_inspections_recorded_total{origin="line",outcome="failed"}'
            with live.client() as client:
                assert f"{metric} 1.0" in client.get("/metrics").text
        until(lambda: readiness(live) == (200, "kept"))
        assert ask(live, content, new_id()).json()["archived"] is True
        assert live.tracebacks() == []


def test_a_disk_that_refuses_where_each_part_must_be_recorded(serve, image):
    content, refused = image(), new_id()
    with serve(archive__on_failure="refuse") as live:
        ask(live, content, new_id())  # the memory that is shared with the worker has its size
        with full_disk(live):
            for inspection_id in (refused, new_id()):
                answer = ask(live, content, inspection_id)
                assert answer.status_code == 503
                assert answer.json()["type"].endswith("journal-unavailable")
                assert answer.headers["x-decision"] == "UNDECIDED"
            assert readiness(live) == (503, "degraded")
        until(lambda: readiness(live) == (200, "kept"))
        retried = ask(live, content, refused).json()
        assert (retried["decision"], retried["archived"]) == ("NG", True)
        os.kill(live.process.pid, signal.SIGTERM)
        assert live.await_end() == 0
