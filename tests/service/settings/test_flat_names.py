"""Every flat name of a setting from before there were rooms stays valid."""

import pytest

from service.settings import Settings, SettingsError, variables
from service.settings.flat_names import FLAT_NAMES

NAMES = [
    ("MAMBAAD_HOST", "MAMBAAD_HTTP__HOST", "::1"),
    ("MAMBAAD_PORT", "MAMBAAD_HTTP__PORT", "9000"),
    ("MAMBAAD_TRUSTED_PROXIES", "MAMBAAD_HTTP__TRUSTED_PROXIES", "10.0.0.1"),
    ("MAMBAAD_CONNECTION_LIMITS", "MAMBAAD_HTTP__CONNECTION_LIMITS", "false"),
    ("MAMBAAD_MAX_CONNECTIONS", "MAMBAAD_HTTP__MAX_CONNECTIONS", "7"),
    ("MAMBAAD_MAX_HEADER_BYTES", "MAMBAAD_HTTP__MAX_HEADER_BYTES", "2000"),
    ("MAMBAAD_MAX_REQUEST_BYTES", "MAMBAAD_HTTP__MAX_REQUEST_BYTES", "3000"),
    ("MAMBAAD_MAX_INFLIGHT_BYTES", "MAMBAAD_HTTP__MAX_INFLIGHT_BYTES", "4000"),
    ("MAMBAAD_REQUEST_TIMEOUT_MS", "MAMBAAD_HTTP__REQUEST_TIMEOUT_MS", "5.5"),
    ("MAMBAAD_HEADER_TIMEOUT_S", "MAMBAAD_HTTP__HEADER_TIMEOUT_S", "1.5"),
    ("MAMBAAD_BODY_TIMEOUT_S", "MAMBAAD_HTTP__BODY_TIMEOUT_S", "1.5"),
    ("MAMBAAD_MIN_BODY_BYTES_PER_S", "MAMBAAD_HTTP__MIN_BODY_BYTES_PER_S", "50"),
    ("MAMBAAD_SEND_TIMEOUT_S", "MAMBAAD_HTTP__SEND_TIMEOUT_S", "1.5"),
    ("MAMBAAD_KEEP_ALIVE_S", "MAMBAAD_HTTP__KEEP_ALIVE_S", "1.5"),
    ("MAMBAAD_SHUTDOWN_GRACE_S", "MAMBAAD_HTTP__SHUTDOWN_GRACE_S", "0"),
    ("MAMBAAD_API_KEYS_FILE", "MAMBAAD_ACCESS__API_KEYS_FILE", "keys.json"),
    ("MAMBAAD_ALLOW_ANONYMOUS", "MAMBAAD_ACCESS__ALLOW_ANONYMOUS", "true"),
    ("MAMBAAD_METRICS_REQUIRE_KEY", "MAMBAAD_ACCESS__METRICS_REQUIRE_KEY", "true"),
    ("MAMBAAD_RATE_LIMIT_PER_S", "MAMBAAD_ACCESS__RATE_LIMIT_PER_S", "3"),
    ("MAMBAAD_CORS_ORIGINS", "MAMBAAD_ACCESS__CORS_ORIGINS", "https://a.example"),
    ("MAMBAAD_MAX_FILES_PER_REQUEST", "MAMBAAD_API__MAX_FILES_PER_REQUEST", "3"),
    ("MAMBAAD_MAX_IMAGES_PER_BATCH", "MAMBAAD_API__MAX_IMAGES_PER_BATCH", "3"),
    ("MAMBAAD_BATCH_REQUEST_TIMEOUT_MS", "MAMBAAD_API__BATCH_REQUEST_TIMEOUT_MS", "5.5"),
    ("MAMBAAD_IDEMPOTENCY_MAX_ANSWERS", "MAMBAAD_API__IDEMPOTENCY_MAX_ANSWERS", "3"),
    ("MAMBAAD_IDEMPOTENCY_MAX_BYTES", "MAMBAAD_API__IDEMPOTENCY_MAX_BYTES", "3"),
    ("MAMBAAD_IDEMPOTENCY_TTL_S", "MAMBAAD_API__IDEMPOTENCY_TTL_S", "1.5"),
    ("MAMBAAD_MAX_IMAGE_BYTES", "MAMBAAD_INSPECTION__MAX_IMAGE_BYTES", "3"),
    ("MAMBAAD_MAX_IMAGE_PIXELS", "MAMBAAD_INSPECTION__MAX_IMAGE_PIXELS", "3"),
    ("MAMBAAD_MAX_IMAGE_TILES", "MAMBAAD_INSPECTION__MAX_IMAGE_TILES", "3"),
    ("MAMBAAD_DECODE_THREADS", "MAMBAAD_INSPECTION__DECODE_THREADS", "250"),
    ("MAMBAAD_FAIL_SAFE", "MAMBAAD_INSPECTION__FAIL_SAFE", "STOP"),
    ("MAMBAAD_DRIFT_WINDOW_PARTS", "MAMBAAD_INSPECTION__DRIFT_WINDOW_PARTS", "300"),
    ("MAMBAAD_DRIFT_MAX_NG_SHARE", "MAMBAAD_INSPECTION__DRIFT_MAX_NG_SHARE", "0.25"),
    ("MAMBAAD_DEVICES", "MAMBAAD_WORKERS__DEVICES", "cpu,cuda:0"),
    ("MAMBAAD_WORKERS_PER_DEVICE", "MAMBAAD_WORKERS__WORKERS_PER_DEVICE", "3"),
    ("MAMBAAD_THREADS_PER_WORKER", "MAMBAAD_WORKERS__THREADS_PER_WORKER", "3"),
    ("MAMBAAD_BACKEND", "MAMBAAD_WORKERS__BACKEND", "reference"),
    ("MAMBAAD_PRECISION", "MAMBAAD_WORKERS__PRECISION", "tf32"),
    ("MAMBAAD_CUDA_GRAPHS", "MAMBAAD_WORKERS__CUDA_GRAPHS", "false"),
    ("MAMBAAD_MAX_MODEL_BYTES", "MAMBAAD_WORKERS__MAX_MODEL_BYTES", "3"),
    ("MAMBAAD_MAX_BATCH_SIZE", "MAMBAAD_WORKERS__MAX_BATCH_SIZE", "3"),
    ("MAMBAAD_MAX_QUEUE_DELAY_MS", "MAMBAAD_WORKERS__MAX_QUEUE_DELAY_MS", "5.5"),
    ("MAMBAAD_BATCH_EFFICIENCY", "MAMBAAD_WORKERS__BATCH_EFFICIENCY", "0.5"),
    ("MAMBAAD_MAX_QUEUE_SIZE", "MAMBAAD_WORKERS__MAX_QUEUE_SIZE", "3"),
    ("MAMBAAD_MAX_QUEUE_BYTES", "MAMBAAD_WORKERS__MAX_QUEUE_BYTES", "3"),
    ("MAMBAAD_PRIORITY_PATIENCE_MS", "MAMBAAD_WORKERS__PRIORITY_PATIENCE_MS", "5.5"),
    ("MAMBAAD_BATCH_TIMEOUT_MS", "MAMBAAD_WORKERS__BATCH_TIMEOUT_MS", "5.5"),
    ("MAMBAAD_MIN_BATCH_TIMEOUT_MS", "MAMBAAD_WORKERS__MIN_BATCH_TIMEOUT_MS", "5.5"),
    ("MAMBAAD_HEARTBEAT_TIMEOUT_MS", "MAMBAAD_WORKERS__HEARTBEAT_TIMEOUT_MS", "5.5"),
    ("MAMBAAD_STARTUP_TIMEOUT_S", "MAMBAAD_WORKERS__STARTUP_TIMEOUT_S", "1.5"),
    ("MAMBAAD_RESTART_BACKOFF_S", "MAMBAAD_WORKERS__RESTART_BACKOFF_S", "1.5"),
    ("MAMBAAD_MAX_RESTART_BACKOFF_S", "MAMBAAD_WORKERS__MAX_RESTART_BACKOFF_S", "1.5"),
    ("MAMBAAD_STOP_GRACE_S", "MAMBAAD_WORKERS__STOP_GRACE_S", "1.5"),
    ("MAMBAAD_WEIGHTS_DIR", "MAMBAAD_VERSIONS__WEIGHTS_DIR", "elsewhere"),
    ("MAMBAAD_STATE_DIR", "MAMBAAD_VERSIONS__STATE_DIR", "state"),
    ("MAMBAAD_LOG_LEVEL", "MAMBAAD_TELEMETRY__LOG_LEVEL", "ERROR"),
    ("MAMBAAD_LOG_FORMAT", "MAMBAAD_TELEMETRY__LOG_FORMAT", "text"),
    ("MAMBAAD_TRACE_ENDPOINT", "MAMBAAD_TELEMETRY__TRACE_ENDPOINT", "http://collector:4318"),
]
"""Flat name, name with its room, and a value that is not the default. Keep every entry."""


def test_every_flat_name_is_tested():
    assert {flat for flat, _, _ in NAMES} == set(FLAT_NAMES)


def test_a_flat_name_is_one_of_a_setting_that_is_there():
    for flat, name, _ in NAMES:
        assert variables()[flat] == variables()[name]


@pytest.mark.parametrize(("flat", "name", "text"), NAMES)
def test_both_names_set_the_same(monkeypatch, flat, name, text):
    default = Settings()
    monkeypatch.setenv(name, text)
    by_name = Settings()
    monkeypatch.delenv(name)
    monkeypatch.setenv(flat, text)
    by_flat = Settings()
    assert by_flat == by_name != default
    room, field = variables()[name]
    assert getattr(by_flat, room).model_fields_set == {field}
    monkeypatch.setenv(name, text)  # both names with one value count as one
    assert Settings() == by_name


@pytest.mark.parametrize(("flat", "name", "text"), NAMES)
def test_both_names_with_different_values_are_refused(monkeypatch, flat, name, text):
    monkeypatch.setenv(flat, text)
    monkeypatch.setenv(name, "other")
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert str(caught.value) == (
        f"{name} is 'other', but {flat}, its older name, is {text!r}: set only one of them"
    )


def test_every_setting_that_is_meant_twice_is_named(monkeypatch):
    for name, text in (
        ("MAMBAAD_PORT", "1"),
        ("MAMBAAD_HTTP__PORT", "2"),
        ("mambaad_fail_safe", "NG"),
        ("MAMBAAD_INSPECTION__FAIL_SAFE", "STOP"),
    ):
        monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError) as caught:
        Settings()
    ports, fail_safes = str(caught.value).splitlines()
    assert "MAMBAAD_HTTP__PORT is '2', but MAMBAAD_PORT" in ports
    assert "MAMBAAD_INSPECTION__FAIL_SAFE is 'STOP', but MAMBAAD_FAIL_SAFE" in fail_safes
