"""Settings: their sources, and invalid ones."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import (
    AccessSettings,
    HttpSettings,
    Settings,
    WorkerSettings,
    available_cores,
    unknown_variables,
    variables,
)


def test_defaults_take_what_waits_on_the_cpu(monkeypatch):
    workers = Settings().workers
    assert workers.devices == ("cpu",)
    assert workers.max_queue_delay_ms == 0
    assert workers.worker_names == ("cpu",)
    assert workers.worker_threads == available_cores()


def test_the_environment_is_read_with_a_prefix_and_a_room(monkeypatch):
    monkeypatch.setenv("MAMBAAD_HTTP__PORT", "9001")
    monkeypatch.setenv("mambaad_versions__weights_dir", "elsewhere")
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("HTTP__PORT", "1")
    settings = Settings()
    assert (settings.http.port, settings.versions.weights_dir) == (9001, Path("elsewhere"))
    assert settings.http.model_fields_set == {"port"}
    assert settings.workers.model_fields_set == set()


@pytest.mark.parametrize("name", ["MAMBAAD_HTTP__PORT", "MAMBAAD_PORT"])
def test_arguments_go_before_the_environment(monkeypatch, name):
    monkeypatch.setenv(name, "9001")
    monkeypatch.setenv("MAMBAAD_HTTP__HOST", "::1")
    http = Settings.model_validate({"http": {"port": 9002}}).http
    assert (http.port, http.host) == (9002, "::1")


def test_a_room_given_whole_leaves_its_variables_aside(monkeypatch):
    monkeypatch.setenv("MAMBAAD_HTTP__HOST", "::1")
    monkeypatch.setenv("MAMBAAD_WORKERS__MAX_BATCH_SIZE", "3")
    settings = Settings(http=HttpSettings(port=9002))
    assert settings.http == HttpSettings(port=9002)
    assert settings.workers.max_batch_size == 3


@pytest.mark.parametrize("text", ["cuda:0,cuda:1", "cuda:0, cuda:1", '["cuda:0", "cuda:1"]'])
def test_devices_are_a_list_in_one_variable(monkeypatch, text):
    monkeypatch.setenv("MAMBAAD_WORKERS__DEVICES", text)
    assert Settings().workers.devices == ("cuda:0", "cuda:1")


def test_several_workers_share_the_cores_and_have_names_of_their_own():
    workers = WorkerSettings(devices=("cpu",), workers_per_device=2)
    assert workers.worker_names == ("cpu/0", "cpu/1")
    assert workers.worker_threads == max(1, available_cores() // 2)
    assert WorkerSettings(threads_per_worker=3).worker_threads == 3


@pytest.mark.parametrize(
    ("threads", "device", "lanes"),
    [(1, "cpu", 1), (2, "cpu", 2), (4, "cpu", 4), (5, "cpu", 1), (2, "cuda:0", 1)],
)
def test_few_threads_of_a_cpu_compute_a_batch_each(threads, device, lanes):
    assert WorkerSettings(threads_per_worker=threads).lanes_of(device) == lanes


@pytest.mark.parametrize(
    ("room", "wrong"),
    [
        ("workers", {"devices": ()}),
        ("workers", {"devices": ("gpu",)}),
        ("workers", {"devices": ("cpu", "cpu")}),
        ("workers", {"devices": "cuda"}),
        ("http", {"port": 70000}),
        ("workers", {"max_batch_size": 0}),
        ("workers", {"max_queue_delay_ms": -1}),
        ("workers", {"max_queue_size": 0}),
        ("http", {"request_timeout_ms": 0}),
        ("telemetry", {"log_level": "LOUD"}),
        ("http", {"prot": 8000}),
        ("htpp", {"port": 8000}),
        ("access", {"rate_limit_per_s": 0}),
        ("access", {"cors_origins": "*"}),
        ("access", {"cors_origins": "https://a.example, ftp://b.example"}),
        ("http", {"shutdown_grace_s": -1}),
        ("http", {"trusted_proxies": "10.0.0.0/8, proxy"}),
    ],
)
def test_impossible_settings_are_refused(room, wrong):
    with pytest.raises(ValidationError):
        Settings.model_validate({room: wrong})


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
    settings = Settings(
        http=HttpSettings(host=host),
        access=AccessSettings(allow_anonymous=anonymous, api_keys_file=keys),
    )
    assert settings.needs_keys is needed


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        Settings().http = HttpSettings()
    with pytest.raises(ValidationError):
        Settings().http.port = 1


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("MAMBAAD_MAX_BATCHSIZE", "MAMBAAD_MAX_BATCH_SIZE"),
        ("MAMBAAD_WORKERS__MAX_BATCHSIZE", "MAMBAAD_WORKERS__MAX_BATCH_SIZE"),
        ("MAMBAAD_WORKER__MAX_BATCH_SIZE", "MAMBAAD_WORKERS__MAX_BATCH_SIZE"),
        ("MAMBAAD_HTTP_PORT", "MAMBAAD_HTTP__PORT"),
        ("MAMBAAD_APIKEY", "MAMBAAD_API_KEY"),
        ("MAMBAAD_ZZZ", None),
    ],
)
def test_a_name_that_is_none_is_noticed_with_the_nearest(monkeypatch, misspelt, meant):
    monkeypatch.setenv(misspelt, "1")
    assert unknown_variables() == {misspelt: meant}


def test_names_of_settings_are_known(monkeypatch):
    for name in (*variables(), "MAMBAAD_URL", "MAMBAAD_API_KEY"):
        monkeypatch.setenv(name, "1")
    assert unknown_variables() == {}


def test_a_room_is_not_set_in_one_variable(monkeypatch):
    monkeypatch.setenv("MAMBAAD_HTTP", '{"port": 9000}')
    assert list(unknown_variables()) == ["MAMBAAD_HTTP"]


@pytest.mark.parametrize(
    "text", ["solar=2,bolts=1", " solar = 2 , bolts=1,", '{"solar": 2, "bolts": 1}']
)
def test_replicas_are_pairs_in_one_variable(monkeypatch, text):
    monkeypatch.setenv("MAMBAAD_CLUSTER__MIN_WORKERS", "2")
    monkeypatch.setenv("MAMBAAD_CLUSTER__REPLICAS", text)
    assert Settings().cluster.replicas == {"solar": 2, "bolts": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("solar", 'expected NAME=NUMBER, separated by commas, got "solar"'),
        ("solar=1,solar=2", "expected each name once, got solar 2 times"),
        ("solar=many", "replicas.solar"),
        ("solar=0", "expected 1 to min_workers = 2 replicas of solar, got 0"),
        ("solar=3", "expected 1 to min_workers = 2 replicas of solar, got 3"),
    ],
)
def test_wrong_replicas_are_named(monkeypatch, text, why):
    monkeypatch.setenv("MAMBAAD_CLUSTER__MIN_WORKERS", "2")
    monkeypatch.setenv("MAMBAAD_CLUSTER__REPLICAS", text)
    with pytest.raises(ValidationError, match=re.escape(why)):
        Settings()
