"""Settings of the doors whose clients send requests: what is refused, and why."""

import pytest
from pydantic import ValidationError

from service.station.settings import StationSettings

MQTT = {"host": "broker", "topic": "plant/EL-3"}


def station(plc, **values):
    return StationSettings.model_validate(
        {
            "name": "EL-3",
            "cameras": {"top": {"folder": {"path": "shots"}}},
            "recipes": {1: {"categories": {"top": "bolt"}}},
            "plc": plc,
            **values,
        }
    )


@pytest.mark.parametrize("plc", [{"mqtt": MQTT}, {"http": {}}, {"folder": {"path": "share"}}])
def test_a_heartbeat_that_no_client_sends_is_not_watched(plc):
    assert station(plc).times.plc_timeout_ms == 0
    with pytest.raises(ValidationError, match=r"times\.plc_timeout_ms watches the heartbeat"):
        station(plc, times={"plc_timeout_ms": 500})
    assert station({"modbus": {}}, times={"plc_timeout_ms": 500}).times.plc_timeout_ms == 500


@pytest.mark.parametrize(
    ("plc", "fault"),
    [
        ({"mqtt": {**MQTT, "topic": "plant/#"}}, "expected a topic without"),
        ({"mqtt": {**MQTT, "topic": "$SYS/EL-3"}}, "expected a topic without"),
        ({"mqtt": {**MQTT, "topic": "plant/"}}, "expected a topic without"),
        ({"mqtt": {**MQTT, "ca_file": "ca.pem"}}, "expected `tls: true`"),
        ({"mqtt": {**MQTT, "tls": True, "key_file": "key.pem"}}, "key_file together"),
        ({"mqtt": {**MQTT, "password_file": "password"}}, "expected `user`"),
        ({"http": {"certificate_file": "server.pem"}}, "key_file together"),
        ({"http": {"allow": ["10.0.0.0/33"]}}, "plc.http.allow"),
        ({"http": {}, "folder": {"path": "share"}}, "expected exactly one door"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(plc, fault):
    with pytest.raises(ValidationError, match=fault):
        station(plc)
