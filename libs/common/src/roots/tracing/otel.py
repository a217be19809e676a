"""Tracing by OpenTelemetry's SDK: spans of requests, publishes and deliveries, sent by OTLP in the background.

Nothing waits for the receiver: spans queue up in memory, bounded, and are dropped when it is away or slow. The only
module that imports OpenTelemetry; see `tracing`, which imports it when it is asked for.
"""

import logging
import os
import socket
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import falcon
import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.re import parse_env_headers

from roots.contracts.events import TRACEPARENT_HEADER, Event
from roots.contracts.subjects import EVENTS_STREAM
from roots.runtime import logs
from roots.tracing.traceparent import sampled_trace_id
from roots.tracing.tracing import Delivery, Publishing, Tracing, TracingConfig

# What is left to send at the end gets so long; a receiver that is away must not keep a process from its end.
STOP_SECONDS = 2.0

_STREAM = {"messaging.system": "nats", "messaging.destination.name": EVENTS_STREAM}
_METHODS = frozenset(falcon.HTTP_METHODS)
_SERVER_FAULT = 500

log = logs.get(__name__)
_propagator = TraceContextTextMapPropagator()


class OpenTelemetry(Tracing):
    """Sends spans to the receiver that the environment names, as the service `roots-<service>` by default."""

    is_on = True

    def __init__(self, service: str, config: TracingConfig) -> None:
        # A container's settings are often empty; the SDK would take those for wrong values, and warn.
        for name in [name for name, value in os.environ.items() if name.startswith("OTEL_") and not value]:
            del os.environ[name]
        # It warns of each try; that a batch could not be sent in the end is an error, and enough.
        logging.getLogger(trace_exporter.__name__).setLevel(logging.ERROR)
        own = {"service.name": f"roots-{service}", "host.name": socket.gethostname()}
        self._provider = TracerProvider(
            resource=Resource.create(own | dict(OTELResourceDetector().detect().attributes)),
            shutdown_on_exit=False,
        )
        # Given here, since the SDK would not read them from a file.
        headers = parse_env_headers(config.traces_headers or config.headers, liberal=True)
        self._provider.add_span_processor(BatchSpanProcessor(trace_exporter.OTLPSpanExporter(headers=headers)))
        self._tracer = self._provider.get_tracer("roots")
        log.info("tracing", sampler=self._provider.sampler.get_description())

    def middleware(self) -> list[Any]:
        """Return the middleware that makes a span of each request."""
        return [_ServerSpans(self._tracer)]

    def publish(self, events: Sequence[Event]) -> Publishing:
        """Begin a span for each of `events` whose trace is sampled; the others go on as they came."""
        return _PublishSpans(self._tracer, events)

    def deliver(self, delivery: Delivery) -> None:
        """Make a span of `delivery`, under that of the publish and linked to it."""
        parent = _propagator.extract({TRACEPARENT_HEADER: delivery.traceparent})
        span = self._tracer.start_span(
            f"deliver {EVENTS_STREAM}",
            context=parent,
            kind=SpanKind.CONSUMER,
            links=[Link(get_current_span(parent).get_span_context())],
            start_time=delivery.began_ns,
            attributes={
                **_STREAM,
                "messaging.operation.name": "deliver",
                "messaging.operation.type": "process",
                "roots.path": delivery.path,
                "roots.seq": delivery.seq,
                "roots.clients": delivery.clients,
                "roots.is_catch_up": delivery.is_catch_up,
            },
        )
        for written_ns, clients in delivery.writes:
            span.add_event("written", {"roots.clients": clients}, timestamp=written_ns)
        span.end(end_time=delivery.ended_ns)

    def stop(self) -> None:
        """Send what is queued, within STOP_SECONDS."""
        # In a thread that may be left behind: the SDK would wait half a minute for a receiver that does not answer.
        last = threading.Thread(target=self._provider.shutdown, name="tracing-stop", daemon=True)
        last.start()
        last.join(STOP_SECONDS)


class _ServerSpans:
    """Falcon middleware: one span for each request, whose trace the log lines of the request name."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Begin the span, in the trace that the request belongs to or in a new one."""
        method = _method_of(req)
        names = ("traceparent", "tracestate")
        carrier = {name: value for name in names if (value := req.get_header(name)) is not None}
        span = self._tracer.start_span(
            method,
            context=_propagator.extract(carrier, Context()),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        )
        context = span.get_span_context()
        req.context.span = span
        req.context.traceparent = _traceparent(context)
        structlog.contextvars.bind_contextvars(trace_id=f"{context.trace_id:032x}", span_id=f"{context.span_id:016x}")

    def process_response(self, req: falcon.Request, resp: falcon.Response, _resource: object, _ok: bool) -> None:  # noqa: FBT001  # Falcon calls it so
        """End the span; the request's path stays out, since it may hold a uid."""
        span: Span = req.context.span
        if req.uri_template:
            span.update_name(f"{_method_of(req)} {req.uri_template}")
            span.set_attribute("http.route", req.uri_template)
        span.set_attribute("http.response.status_code", resp.status_code)
        if resp.status_code >= _SERVER_FAULT:
            span.set_attribute("error.type", str(resp.status_code))
            span.set_status(Status(StatusCode.ERROR))
        span.end()
        structlog.contextvars.unbind_contextvars("trace_id", "span_id")


class _PublishSpans(Publishing):
    """The spans of events that are published together; each event goes out with the context of its own."""

    def __init__(self, tracer: Tracer, events: Sequence[Event]) -> None:
        self._spans: list[Span | None] = [_begin_publish(tracer, event, len(events)) for event in events]
        super().__init__(
            [
                event if span is None else replace(event, traceparent=_traceparent(span.get_span_context()))
                for event, span in zip(events, self._spans, strict=True)
            ]
        )

    def __exit__(self, *_error: object) -> None:
        self.end([("unknown", False)] * len(self._spans))

    def end(self, outcomes: Iterable[tuple[str, bool]]) -> None:
        """End the spans that were not ended before."""
        for span, (outcome, is_stored) in zip(self._spans, outcomes, strict=True):
            if span is None:
                continue
            span.set_attribute("roots.outcome", outcome)
            if not is_stored:
                span.set_attribute("error.type", outcome)
                span.set_status(Status(StatusCode.ERROR))
            span.end()
        self._spans = []


def _begin_publish(tracer: Tracer, event: Event, count: int) -> Span | None:
    if event.traceparent is None or sampled_trace_id(event.traceparent) is None:
        return None
    return tracer.start_span(
        f"publish {EVENTS_STREAM}",
        context=_propagator.extract({TRACEPARENT_HEADER: event.traceparent}),
        kind=SpanKind.PRODUCER,
        attributes={
            **_STREAM,
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.batch.message_count": count,
            "roots.path": event.path,
        },
    )


def _method_of(req: falcon.Request) -> str:
    return req.method if req.method in _METHODS else "_OTHER"


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
