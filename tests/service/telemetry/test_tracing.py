"""Traces: the effect of a client's `traceparent`, with and without a collector."""

import logging
import subprocess
import sys
from itertools import pairwise

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.telemetry import tracing
from service.telemetry.tracing import OpenTelemetry, TraceParent, TracingUnavailable, tracing_to

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("header", "is_valid"),
    [
        (HEADER, True),
        (f"  {HEADER} ", True),
        (f"01-{TRACE}-{PARENT}-01-what-later-versions-add", True),
        (f"{HEADER}-more", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (HEADER.upper(), False),
        ("", False),
        ("00-" * 1000, False),
    ],
)
def test_a_header_is_read_as_the_standard_says(header, is_valid):
    parent = TraceParent.parse(header)
    assert (parent is not None) is is_valid
    assert parent is None or (parent.trace_id, parent.span_id) == (TRACE, PARENT)


def test_a_clients_trace_goes_on_in_answer_and_log(line, image, caplog):
    caplog.set_level(logging.INFO, "service.access")
    headers = {"traceparent": HEADER}
    response = line.post("/detect?category=bolt", content=image(), headers=headers)
    version, trace_id, span_id, flags = response.headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id != PARENT
    (logged,) = (record for record in caplog.records if record.name == "service.access")
    assert logged.fields["trace_id"] == TRACE
    assert "traceparent" not in line.detect(category="bolt", content=image()).headers


@pytest.fixture
def spans(line):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    line.trace_with(OpenTelemetry(provider))
    return exporter.get_finished_spans


def test_spans_are_made_of_request_image_and_stages(line, image, spans):
    headers = {"traceparent": HEADER}
    path = "/detect?category=nut&heatmap=mask"
    response = line.post(path, content=image(), headers=headers)
    made = {span.name: span for span in spans()}
    request, inspected = made["POST /detect"], made["inspect"]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    assert response.headers["traceparent"] == f"00-{TRACE}-{request.context.span_id:016x}-01"
    assert request.attributes["http.response.status_code"] == 200
    assert inspected.parent.span_id == request.context.span_id
    assert dict(inspected.attributes) == {"mambaad.category": "nut", "mambaad.decision": "NG"}
    inside = inspected.context.span_id
    stages = [span for span in spans() if span.parent and span.parent.span_id == inside]
    assert [span.name for span in stages] == ["decode", "preprocess", "queue", "encoder", "heatmap"]
    for before, after in pairwise(stages):
        assert before.end_time == after.start_time


def test_a_request_without_a_trace_begins_one(line, image, spans):
    response = line.detect(category="crash", content=image())
    (request,) = spans()
    assert request.parent is None
    assert request.attributes["http.response.status_code"] == response.status_code == 500
    assert response.headers["traceparent"].split("-")[1] == f"{request.context.trace_id:032x}"


def test_nothing_is_imported_without_a_collector():
    code = "import sys, service.app; assert 'opentelemetry.sdk' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_collector_needs_the_extra(monkeypatch):
    assert type(tracing_to(None, "1")) is tracing.Tracing
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracingUnavailable, match="pip install"):
        tracing_to("http://127.0.0.1:9/v1/traces", "1")


def test_an_exporter_is_made_for_the_endpoint():
    made = tracing_to("http://127.0.0.1:9/v1/traces", "1")
    assert isinstance(made, OpenTelemetry)
    made.close()
