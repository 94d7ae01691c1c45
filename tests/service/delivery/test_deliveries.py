"""All sinks together: what is started, what is named in the log, and what cannot be started."""

import asyncio
import sys

import pytest

from service.delivery.deliveries import deliveries_of
from service.delivery.sinks.sink import SinkUnusable
from service.errors import NoSuchSink
from service.settings import DeliverySettings, Settings
from tests.service.delivery.journals import parts, record


def test_a_sink_that_left_the_settings_is_named(journal, deliver, tmp_path, eventually, caplog):
    files = {"type": "folder", "path": tmp_path / "results"}
    first = deliver(files=files, old={"type": "folder", "path": tmp_path / "old"})
    record(journal, parts(5))
    eventually(lambda: all(status.position == 5 for status in first.status()))
    first.stop()
    caplog.clear()
    deliver(files=files)
    assert "the sink old is no longer in the settings: it took events up to 5" in caplog.text
    assert "files" not in caplog.text


def test_a_sink_is_asked_for_by_its_name(journal, deliver, tmp_path):
    deliveries = deliver(files={"type": "folder", "path": tmp_path / "results"})
    for ask in (deliveries.retry, lambda sink: deliveries.dead(sink, 1)):
        with pytest.raises(NoSuchSink, match="no sink 'mes'; have: files"):
            ask("mes")


def test_two_sinks_deliver_side_by_side(journal, deliver, tmp_path, eventually):
    """One cannot write; the other goes on."""
    deliveries = deliver(
        good={"type": "folder", "path": tmp_path / "results"},
        bad={"type": "folder", "path": tmp_path / "gone" / "results"},
    )
    record(journal, parts(30))
    eventually(lambda: deliveries.status()[1].depth == 0)
    assert deliveries.status()[0].depth == 30


@pytest.mark.parametrize(
    ("module", "sink", "extra"),
    [
        ("paho.mqtt.client", {"type": "mqtt", "host": "h"}, "mqtt"),
        ("psycopg", {"type": "postgresql", "url": "postgresql://h/d"}, "postgresql"),
    ],
)
def test_a_missing_package_names_the_extra(journal, metrics, monkeypatch, module, sink, extra):
    monkeypatch.setitem(sys.modules, module, None)
    settings = Settings(delivery=DeliverySettings(sinks={"mes": sink}))
    with pytest.raises(SinkUnusable, match=rf"the sink mes needs .*mambaad-service\[{extra}\]"):
        deliveries_of(settings, journal, metrics)


@pytest.mark.parametrize(
    ("sink", "message"),
    [
        ({"type": "mqtt", "host": "h", "username": "u", "password_file": "/gone"}, "/gone cannot"),
        ({"type": "webhook", "url": "https://h", "secret_file": "/gone"}, "/gone cannot be read"),
        (
            {"type": "webhook", "url": "https://h", "secret_variable": "PATH", "ca_file": "/gone"},
            "the certificate cannot be read from /gone: No such file",
        ),
        (
            {"type": "mqtt", "host": "h", "tls": True, "ca_file": "/gone"},
            "the certificate cannot be read from /gone: No such file",
        ),
        (
            {
                "type": "mqtt",
                "host": "h",
                "tls": True,
                "certificate_file": __file__,
                "key_file": __file__,
            },
            "the certificate cannot be read from .*PEM",
        ),
    ],
)
def test_a_sink_whose_files_are_missing_is_refused_at_the_start(journal, metrics, sink, message):
    settings = Settings(delivery=DeliverySettings(sinks={"mes": sink}))
    with pytest.raises(SinkUnusable, match=message):
        deliveries_of(settings, journal, metrics)


def test_none_of_it_is_on_the_event_loop(journal, deliver, tmp_path, eventually):
    """Threads deliver while the loop that would inspect is blocked."""
    deliveries = deliver(files={"type": "folder", "path": tmp_path / "results"})

    async def block() -> int:
        record(journal, parts(10))
        eventually(lambda: deliveries.status()[0].delivered == 10)
        return deliveries.status()[0].depth

    assert asyncio.run(block()) == 0


def test_deliveries_that_never_started_stop(journal, metrics, tmp_path):
    settings = Settings(
        delivery=DeliverySettings(sinks={"files": {"type": "folder", "path": tmp_path / "results"}})
    )
    deliveries_of(settings, journal, metrics).stop()


def test_a_stop_with_time_to_drain_delivers_all(journal, deliver, tmp_path):
    sink = {"type": "folder", "path": tmp_path / "results", "max_per_s": 20}
    deliveries = deliver(files=sink)
    record(journal, parts(30))
    assert deliveries.status()[0].depth > 0
    deliveries.drain(30)
    assert [(status.depth, status.delivered) for status in deliveries.status()] == [(0, 30)]


def test_what_no_sink_took_in_time_is_named(journal, deliver, tmp_path, caplog):
    deliveries = deliver(bad={"type": "folder", "path": tmp_path / "gone" / "results"})
    record(journal, parts(3))
    deliveries.drain(0)
    assert "not delivered" not in caplog.text
    deliveries.drain(0.2)
    assert (
        "not delivered within 0.2 s, and left in the journal: 3 events for the sink bad"
        in caplog.text
    )
