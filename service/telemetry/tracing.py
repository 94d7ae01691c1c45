"""Traces: W3C `traceparent` headers, and spans for a collector.

Without a collector no span is made: a client's trace id is only logged and returned. With one,
OpenTelemetry (the extra `otel`) gets a span for the request, each image and each of its stages.
"""

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.telemetry.logs import note

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

TRACEPARENT = "traceparent"

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CARRYING = frozenset({TRACEPARENT.encode(), b"tracestate"})
_TOTAL = "total"


class TracingUnavailable(RuntimeError):
    """The settings ask for traces, but OpenTelemetry is not installed."""


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A position in a trace, in the format of W3C Trace Context."""

    trace_id: str
    span_id: str
    flags: str

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    @classmethod
    def parse(cls, header: str) -> "TraceParent | None":
        """Parse a header; None for one that the standard says to ignore."""
        match = _PARENT.fullmatch(header.strip())
        if match is None:
            return None
        version, trace_id, span_id, flags, suffix = match.groups()
        is_unknown = version == "ff" or (version == "00" and suffix)
        if is_unknown or not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(trace_id, span_id, flags)


class RequestTrace:
    """One request's position in its trace; `parent` is None for a request without a trace."""

    def __init__(self, parent: TraceParent | None) -> None:
        self.parent = parent

    def answered(self, route: str, status: int | None) -> None:
        """Record the answer's route template and status code."""


class Tracing:
    """Passes trace ids on without collecting spans."""

    @contextmanager
    def request(self, scope: Mapping[str, Any]) -> Iterator[RequestTrace]:
        """Trace a request; images inspected in this context belong to it."""
        given = TraceParent.parse(_carried(scope).get(TRACEPARENT, ""))
        if given:
            note(trace_id=given.trace_id)
            given = TraceParent(given.trace_id, secrets.token_hex(8), given.flags)
        yield RequestTrace(given)

    def inspected(self, category: str, decision: str, timings_ms: Mapping[str, float]) -> None:
        """Record an image that was inspected just now."""

    def close(self) -> None:
        """Send all pending spans."""


class OpenTelemetry(Tracing):
    """Sends spans to an OpenTelemetry provider."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - an extra

        self._provider = provider
        self._tracer = provider.get_tracer("mambaad")
        self._propagator = tracecontext.TraceContextTextMapPropagator()

    @contextmanager
    def request(self, scope: Mapping[str, Any]) -> Iterator[RequestTrace]:
        """Wrap a request in a span, which joins the client's trace if it sent one."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra

        context = self._propagator.extract(_carried(scope))
        with self._tracer.start_as_current_span(
            f"{scope['method']}", context, SpanKind.SERVER
        ) as span:
            place = span.get_span_context()
            trace_id, span_id = f"{place.trace_id:032x}", f"{place.span_id:016x}"
            note(trace_id=trace_id)
            trace = _SpanOfRequest(TraceParent(trace_id, span_id, f"{place.trace_flags:02x}"))
            trace.method = scope["method"]
            yield trace
            for name, value in trace.attributes.items():
                span.set_attribute(name, value)
            span.update_name(f"{scope['method']} {trace.attributes['http.route']}")

    def inspected(self, category: str, decision: str, timings_ms: Mapping[str, float]) -> None:
        """Make a span of the image and of its stages, which ran one after another."""
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415 - an extra

        end = time.time_ns()
        start = end - round(timings_ms[_TOTAL] * 1e6)
        attributes = {"mambaad.category": category, "mambaad.decision": decision}
        image = self._tracer.start_span("inspect", start_time=start, attributes=attributes)
        inside = set_span_in_context(image)
        for stage, milliseconds in timings_ms.items():
            if stage != _TOTAL:
                span = self._tracer.start_span(stage, inside, start_time=start)
                start += round(milliseconds * 1e6)
                span.end(start)
        image.end(end)

    def close(self) -> None:
        """Send all pending spans."""
        self._provider.shutdown()


class _SpanOfRequest(RequestTrace):
    def __init__(self, parent: TraceParent) -> None:
        super().__init__(parent)
        self.attributes: dict[str, str | int] = {"http.route": "unmatched"}
        self.method = ""

    def answered(self, route: str, status: int | None) -> None:
        self.attributes |= {
            "http.request.method": self.method,
            "http.route": route,
            "http.response.status_code": status or 0,
        }


def _carried(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the trace headers of an ASGI request; of repeated ones, the first."""
    carried: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in _CARRYING:
            carried.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return carried


def tracing_to(endpoint: str | None, version: str) -> Tracing:
    """Return tracing that sends spans to an OTLP endpoint (HTTP), or nowhere for None.

    Raises `TracingUnavailable` if the extra `otel` is not installed.
    """
    if endpoint is None:
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TracingUnavailable(
            "MAMBAAD_TELEMETRY__TRACE_ENDPOINT is set, but OpenTelemetry is not installed: "
            "pip install 'mambaad-service[otel]'"
        ) from error
    provider = TracerProvider(
        resource=Resource.create({"service.name": "mambaad", "service.version": version})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return OpenTelemetry(provider)
