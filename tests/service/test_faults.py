"""Load and faults on a real worker: batches, refusals, deaths, and clients that leave."""

import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from service.settings import Settings, VersionSettings, WorkerSettings

OVERDUE_S = 1.0
"""More than twice the time of a batch of the tests' network, even on a busy machine."""


@pytest.fixture
def post(server, image):
    """From separate threads; each call returns the future of a response."""
    with ThreadPoolExecutor(32) as threads:

        def start(category: str = "bolt", seed: int = 0) -> Future[httpx.Response]:
            def send() -> httpx.Response:
                with server.client() as client:
                    return client.post(f"/detect?category={category}", content=image(seed=seed))

            return threads.submit(send)

        yield start


@pytest.fixture
def waiting(server, eventually):
    def wait(count: int) -> None:
        eventually(lambda: server.metric("mambaad_queue_depth") == count, f"{count} waiting")

    return wait


@pytest.fixture
def occupy(server, post, eventually):
    """Give the suspended worker an overdue batch: all later ones must wait."""

    def start() -> Future[httpx.Response]:
        batches = server.metric("mambaad_batch_size_count")
        response = post()
        eventually(lambda: server.metric("mambaad_batch_size_count") > batches, "a batch")
        time.sleep(OVERDUE_S)
        return response

    return start


def test_requests_that_wait_are_computed_together(server, post, occupy, waiting):
    def batches() -> tuple[float, float]:
        return server.metric("mambaad_batch_size_count"), server.metric("mambaad_batch_size_sum")

    with server.stopped_worker():
        first = occupy()
        count, images = batches()
        others = [post(category, seed=i) for i, category in enumerate(("bolt", "nut", "bolt"))]
        waiting(3)
    answers = [response.result().json()["results"][0] for response in (first, *others)]
    assert [answer["decision"] for answer in answers] == ["OK", "OK", "NG", "OK"]
    assert batches() == (count + 1, images + 3)
    assert all(answer["timings_ms"]["queue"] > 0 for answer in answers[1:])


def test_no_batch_is_larger_than_allowed_or_of_two_checkpoints(
    server, post, occupy, waiting, problem
):
    with server.stopped_worker():
        first = occupy()
        batches = server.metric("mambaad_batch_size_count")
        others = [post() for _ in range(4)]
        waiting(4)
        ghost = post("ghost")
        waiting(5)
    assert {response.result().status_code for response in (first, *others)} == {200}
    problem(ghost.result(), 500, "non-finite-result")
    assert server.metric("mambaad_batch_size_count") == batches + 2


def test_a_full_queue_refuses_at_once(server, post, occupy, waiting, problem):
    with server.stopped_worker():
        accepted = [occupy(), *(post() for _ in range(5))]
        waiting(5)
        refused = post().result()
        problem(refused, 503, "queue-full")
        assert int(refused.headers["retry-after"]) >= 1
        with server.client() as client:
            assert client.get("/livez").status_code == 200
    assert {response.result().status_code for response in accepted} == {200}


def test_a_client_that_leaves_takes_its_image_along(server, image, occupy, waiting):
    with server.stopped_worker():
        first = occupy()
        before = server.metric("mambaad_jobs_dropped_total", reason="cancelled")
        gone = server.metric("mambaad_requests_total", route="/detect", code="499")
        leaving = httpx.Client(base_url=server.url, timeout=0.3)
        with leaving, pytest.raises(httpx.TimeoutException):
            leaving.post("/detect?category=bolt", content=image())
        waiting(0)
        assert server.metric("mambaad_jobs_dropped_total", reason="cancelled") == before + 1
        assert server.metric("mambaad_requests_total", route="/detect", code="499") == gone + 1
    assert first.result().status_code == 200


def test_a_killed_worker_loses_nothing_and_comes_back(
    server, post, occupy, waiting, problem, eventually
):
    restarts = server.metric("mambaad_worker_restarts_total", worker="cpu")
    with server.stopped_worker() as pid:
        lost = occupy()
        queued = post()
        waiting(1)
        os.kill(pid, signal.SIGKILL)
        body = problem(lost.result(), 503, "worker-lost")
    assert "not inspected" in body["detail"]
    assert int(lost.result().headers["retry-after"]) >= 1
    with server.client() as client:
        response = client.get("/readyz")
        assert response.status_code == 503
        (reason,) = response.json()["reasons"]
        assert reason.startswith("worker cpu is ")
        assert client.get("/livez").status_code == 200
    refused = post().result()
    problem(refused, 503, "no-worker-ready")
    assert int(refused.headers["retry-after"]) >= 1
    assert server.metric("mambaad_worker_up") == 0

    # The new process computes what was queued behind the lost batch.
    assert queued.result().json()["results"][0]["decision"] == "OK"
    with server.client() as client:
        assert client.get("/readyz").status_code == 200
    assert server.worker.pid != pid
    assert post("nut").result().json()["results"][0]["decision"] == "NG"
    assert server.metric("mambaad_worker_restarts_total", worker="cpu") == restarts + 1
    assert server.metric("mambaad_worker_up") == 1


def test_a_worker_that_hangs_is_replaced(server, post, problem, monkeypatch, eventually):
    impatient = replace(server.worker._supervision, batch_timeout_s=0.3)
    monkeypatch.setattr(server.worker, "_supervision", impatient)
    with server.stopped_worker() as pid:
        problem(post().result(), 503, "worker-lost")
    monkeypatch.undo()
    eventually(lambda: server.worker.is_ready and server.worker.pid != pid, "a new worker")
    assert post().result().status_code == 200


def test_a_worker_outlives_signals_meant_for_its_parent(server, post):
    pid = server.worker.pid
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert post().result().status_code == 200
    assert server.worker.pid == pid


def test_a_service_that_is_starting_says_so_and_can_be_stopped(start_server, weights, image):
    settings = Settings(
        versions=VersionSettings(weights_dir=weights),
        workers=WorkerSettings(threads_per_worker=1, stop_grace_s=1),
    )
    with start_server(settings) as starting, starting.client() as client:
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["reasons"] == [
            "worker cpu is starting: loading checkpoints and warming up"
        ]
        refused = client.post("/detect?category=bolt", content=image())
        assert refused.status_code == 503
        assert refused.json()["type"].endswith(":no-worker-ready")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/livez").status_code == 200
