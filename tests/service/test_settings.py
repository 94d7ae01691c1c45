"""Settings: where they come from, and which cannot be."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings, available_cores, tune_torch


def test_defaults_take_what_waits_on_the_cpu(monkeypatch):
    settings = Settings()
    assert settings.devices == ("cpu",)
    assert settings.max_queue_delay_ms == 0
    assert settings.worker_names == ("cpu",)
    assert settings.worker_threads == available_cores()


def test_the_environment_is_read_with_a_prefix(monkeypatch):
    monkeypatch.setenv("MAMBAAD_PORT", "9001")
    monkeypatch.setenv("MAMBAAD_WEIGHTS_DIR", "elsewhere")
    monkeypatch.setenv("PORT", "1")
    settings = Settings()
    assert (settings.port, settings.weights_dir) == (9001, Path("elsewhere"))


def test_arguments_go_before_the_environment(monkeypatch):
    monkeypatch.setenv("MAMBAAD_PORT", "9001")
    assert Settings(port=9002).port == 9002


@pytest.mark.parametrize("text", ["cuda:0,cuda:1", "cuda:0, cuda:1", '["cuda:0", "cuda:1"]'])
def test_devices_are_a_list_in_one_variable(monkeypatch, text):
    monkeypatch.setenv("MAMBAAD_DEVICES", text)
    assert Settings().devices == ("cuda:0", "cuda:1")


def test_several_workers_share_the_cores_and_have_names_of_their_own():
    settings = Settings(devices=("cpu",), workers_per_device=2)
    assert settings.worker_names == ("cpu/0", "cpu/1")
    assert settings.worker_threads == max(1, available_cores() // 2)
    assert Settings(threads_per_worker=3).worker_threads == 3


@pytest.mark.parametrize(
    ("threads", "device", "lanes"),
    [(1, "cpu", 1), (2, "cpu", 2), (4, "cpu", 4), (5, "cpu", 1), (2, "cuda:0", 1)],
)
def test_few_threads_of_a_cpu_compute_a_batch_each(threads, device, lanes):
    assert Settings(threads_per_worker=threads).lanes_of(device) == lanes


@pytest.mark.parametrize(
    "wrong",
    [
        {"devices": ()},
        {"devices": ("gpu",)},
        {"devices": ("cpu", "cpu")},
        {"devices": "cuda"},
        {"port": 70000},
        {"max_batch_size": 0},
        {"max_queue_delay_ms": -1},
        {"max_queue_size": 0},
        {"request_timeout_ms": 0},
        {"log_level": "LOUD"},
        {"prot": 8000},
        {"rate_limit_per_s": 0},
        {"cors_origins": "*"},
        {"cors_origins": "https://a.example, ftp://b.example"},
        {"shutdown_grace_s": -1},
        {"trusted_proxies": "10.0.0.0/8, proxy"},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("host", "anonymous", "keys", "needed"),
    [
        ("127.0.0.1", False, None, False),
        ("127.8.8.8", False, None, False),
        ("::1", False, None, False),
        ("localhost", False, None, False),
        ("127.0.0.1", False, "keys.json", True),
        ("0.0.0.0", False, None, True),
        ("::", False, None, True),
        ("", False, None, True),
        ("line-7", False, None, True),
        ("0.0.0.0", True, None, False),
        ("0.0.0.0", True, "keys.json", False),
    ],
)
def test_keys_are_needed_unless_only_this_machine_can_ask(host, anonymous, keys, needed):
    settings = Settings(host=host, allow_anonymous=anonymous, api_keys_file=keys)
    assert settings.needs_keys is needed


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        Settings().port = 1


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({}, {"THP_MEM_ALLOC_ENABLE": "1", "GOMP_SPINCOUNT": "20000"}),
        ({"THP_MEM_ALLOC_ENABLE": "0"}, {"GOMP_SPINCOUNT": "20000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"THP_MEM_ALLOC_ENABLE": "1"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"THP_MEM_ALLOC_ENABLE": "1"}),
    ],
)
def test_torch_is_tuned_where_the_user_has_not_done_so(monkeypatch, given, then):
    environment = {"PATH": "/bin", **given}
    monkeypatch.setattr("service.settings.os.environ", environment)
    tune_torch()
    assert environment == {"PATH": "/bin", **given, **then}
