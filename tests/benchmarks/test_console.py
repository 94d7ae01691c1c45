"""The console's benchmark finds the pages, fills an archive that they show, and times a part."""

import time

import pytest

from benchmarks.archiving.rows import NODE, Made
from benchmarks.console import _delays, _noise
from benchmarks.consoling.line import Posted, post
from benchmarks.consoling.pages import addresses, fill, measure, sign_in, write_keys
from benchmarks.consoling.streams import streaming
from benchmarks.stationing.store import CATEGORY, noise_image, write_store
from service.settings import (
    AccessSettings,
    ArchiveSettings,
    ConsoleSettings,
    HttpSettings,
    Settings,
    VersionSettings,
    WorkerSettings,
)
from tests.service.conftest import is_ready, running


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    write_store(folder)
    return folder / "weights"


@pytest.mark.slow
def test_every_page_is_asked_for_and_answers(weights, tmp_path):
    made = Made(rows=1000, days=20.0)
    fill(tmp_path / "state", made, _noise(0), (300, 300), lambda _: None)
    key, samples = write_keys(tmp_path / "keys.json"), tmp_path / "samples"
    (samples / CATEGORY).mkdir(parents=True)
    (samples / CATEGORY / "part.png").write_bytes(noise_image(1))
    settings = Settings(
        versions=VersionSettings(weights_dir=weights, state_dir=tmp_path / "state"),
        access=AccessSettings(api_keys_file=tmp_path / "keys.json"),
        archive=ArchiveSettings(node=NODE),
        console=ConsoleSettings(samples_dir=samples),
        http=HttpSettings(shutdown_grace_s=0),
    )
    with running(settings) as server, server.client() as client:
        sign_in(client, key)
        pages = addresses(client, weights, samples, made)
        times, refused = measure(client, pages, 1, lambda: None)
    for page in ("/console/live", "/console/history", "/console/parts/{inspection_id}/outline"):
        assert times[page].answer_bytes > 0
    assert times["/console/parts/{inspection_id}/thumbnail"].answer_bytes > 1000
    assert not any("events" in name or "static" in name for name in pages)
    assert not [name for name in refused if name.startswith("/console/history")]


def test_a_part_is_timed_from_its_answer_to_each_stream(weights, tmp_path):
    settings = Settings(
        versions=VersionSettings(weights_dir=weights, state_dir=tmp_path),
        workers=WorkerSettings(threads_per_worker=1, spare="off"),
        http=HttpSettings(shutdown_grace_s=0),
    )
    with running(settings) as server:
        while not is_ready(server):
            time.sleep(0.05)
        with streaming(server.url, 2) as seen:
            posted = post(server.url, [_noise(1)], CATEGORY, per_s=10, seconds=1)
    assert len(posted.answered_at) == 10
    assert (posted.failures, posted.decisions.total()) == (0, 10)
    assert [set(of_one) >= set(posted.answered_at) for of_one in seen] == [True, True]
    assert _delays(posted, seen)["unseen"] == 0


def test_a_part_that_nobody_saw_is_counted():
    posted = Posted(answered_at={"a": 1.0, "b": 2.0})
    delays = _delays(posted, [{"a": 1.25}, {"a": 1.75, "b": 2.5}])
    assert delays == {"p50_ms": 500.0, "p95_ms": 725.0, "p99_ms": 745.0, "unseen": 1}
