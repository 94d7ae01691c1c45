"""The hub's availability is checked once, briefly, and before any work."""

import http.server
import threading
import time

import pytest
from huggingface_hub import constants

from model.errors import WeightsError
from model.network import hub
from model.network.encoder import check_encoder_weights

TIMM = {"hf_hub_id": "timm/"}


class Answering(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def nothing_cached(monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_a_hub_that_is_not_there_is_said_at_once_with_what_to_type(nothing_cached, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1.*--encoder-weights FILE") as caught:
        check_encoder_weights("resnet34", "hub")
    assert time.monotonic() - began < 4 * hub.TIMEOUT_S  # the client itself retries for 47 s
    assert "resnet34" in str(caught.value)


def test_any_answer_will_do(nothing_cached, monkeypatch):
    server = http.server.HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert hub.why_not(TIMM, "resnet34.bt_in1k") is None
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_is_cached_needs_no_hub(monkeypatch):
    repositories = []

    def cached(repository, file):
        repositories.append(repository)
        return "somewhere/model.safetensors"

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check_encoder_weights("resnet34", "hub")
    assert repositories == ["timm/resnet34.bt_in1k"]


def test_offline_by_setting_and_models_without_a_hub(nothing_cached, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in str(hub.why_not(TIMM, "resnet34.bt_in1k"))
    assert hub.why_not({}, "mine") is None


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("resnet34", "package", "--encoder-weights FILE"),
        ("resnet34", "nowhere.pth", "no weights file nowhere.pth"),
    ],
)
def test_other_sources_are_looked_at_too(name, source, message):
    with pytest.raises(WeightsError, match=message):
        check_encoder_weights(name, source)
