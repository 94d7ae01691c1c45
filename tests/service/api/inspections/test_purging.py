"""A purge through the service: counted first, page by page, admins only, protected ones stay."""

import pytest
from prometheus_client import CollectorRegistry

from model.inspection import Decision
from service.archive.retention import Purger, purging
from service.telemetry.metrics.retention import RetentionMetrics


@pytest.fixture
def purge(archived):
    """Ask for a purge; the service has a sink that has taken nothing yet, if `sinks` names one."""
    sinks = []
    archived.line.app.state.purger = Purger(
        archived.journal, archived.media, sinks=sinks, metrics=RetentionMetrics(CollectorRegistry())
    )

    def ask(key="admin", **body):
        return archived.ask("POST", "/inspections/purge", key, json=body)

    ask.sinks = sinks
    return ask


def ids(archived):
    return {row["inspection_id"] for row in archived.search(limit=500)["inspections"]}


def test_a_dry_run_counts_and_deletes_nothing(archived, purge):
    for told in (Decision.OK, Decision.OK, Decision.NG):
        archived.put(told=told)
    archived.put(is_held=True)
    answer = purge(filter={"category": "bolt"}, dry_run=True)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["preview"].pop("oldest") < body["preview"].pop("newest")
    assert body == {
        "deleted": 0, "left": 0, "files": 0, "cursor": None,
        "preview": {
            "matched": 4, "held": 1, "not_delivered": 0, "by_decision": {"NG": 1, "OK": 3},
        },
    }  # fmt: skip
    assert len(ids(archived)) == 4


def test_pages_follow_a_cursor_and_leave_what_is_protected(archived, purge, monkeypatch):
    monkeypatch.setattr(purging, "_PAGE", 2)
    image = archived.view(b"BM picture", b"a map")
    held = archived.put(is_held=True, views=[image])
    for _ in range(4):
        archived.put(views=[image])
    other = archived.put(category="nut")
    body, pages = {"filter": {"category": "bolt"}, "who": "Ada"}, []
    while not pages or pages[-1]["cursor"]:
        pages.append(purge(**body).json())
        body["cursor"] = pages[-1]["cursor"]
    assert [(page["deleted"], page["left"]) for page in pages] == [(2, 0), (2, 0), (0, 1)]
    assert sum(page["files"] for page in pages) == 0  # the held one has the same content
    assert ids(archived) == {str(held.inspection_id), str(other.inspection_id)}
    assert archived.media.read(image.image_sha256, held.received_at.date()) == b"BM picture"


def test_files_alone_can_go(archived, purge):
    record = archived.put(views=[archived.view(b"BM picture", b"a map")])
    archived.media.release(record.views[0].image_sha256, record.received_at.date())
    archived.media.release(record.views[0].map_sha256, record.received_at.date())
    answer = purge(filter={"told": "OK"}, media_only=True).json()
    assert (answer["deleted"], answer["files"]) == (1, 2)
    (row,) = archived.search()["inspections"]
    assert row["views"][0]["image"]["state"] == row["views"][0]["map"]["state"] == "deleted"
    gone = archived.get(f"/inspections/{record.inspection_id}/image")
    assert gone.status_code == 410


def test_only_admins_purge_and_every_field_is_checked(archived, purge, problem):
    archived.put()
    for key in ("detect", "read", "review"):
        problem(purge(key, filter={"told": "OK"}), 403, "forbidden")
    for body in (
        {},
        {"filter": {}},
        {"filter": {"is_held": None}},
        {"filter": {"colour": "red"}},
        {"filter": {"since": "2026-02-01T00:00Z", "until": "2026-01-01T00:00Z"}},
        {"filter": {"told": "OK"}, "dry_run": "yes"},
    ):
        problem(purge(**body), 422, "invalid-request")
    forged = purge(filter={"told": "OK"}, cursor="AAAA")
    assert forged.status_code == 400
    assert len(ids(archived)) == 1


def test_without_an_archive_there_is_nothing_to_purge(archived, problem):
    archived.line.app.state.inspections = None
    body = {"filter": {"told": "OK"}}
    problem(archived.ask("POST", "/inspections/purge", json=body), 404, "no-archive")
