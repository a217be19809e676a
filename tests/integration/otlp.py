"""A receiver of traces of the tests' own: takes in OTLP over HTTP, and can fall silent or be away."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span as it was received.

    Shape: trace, id and parent are hex, parent empty when there is none; links are (trace, id), writes the attribute
        roots.clients of each of its events.
    """

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    writes: list[int]
    began_ns: int
    ended_ns: int
    is_error: bool


class Receiver:
    """Listens on a free port of loopback.

    Shape: spans has all that came, bodies the same as it came, keys what was shown as `Authorization`.
    """

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []
        self._changed = threading.Condition()
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._server = self._listen(0)

    @property
    def url(self) -> str:
        """Where it listens; the path is the exporter's."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_away()

    def fall_silent(self) -> None:
        """Take requests and answer none, until it comes back."""
        self._may_answer.clear()

    def go_away(self) -> None:
        """Listen no longer."""
        self._may_answer.set()
        self._server.shutdown()
        self._server.server_close()

    def come_back(self) -> None:
        """Be at the same place as before, and answer."""
        self.go_away()
        self._server = self._listen(self._server.server_address[1])

    def of(self, trace: str, name: str = "") -> list[Span]:
        """Return the spans of one trace whose names begin so."""
        return [span for span in list(self.spans) if span.trace == trace and span.name.startswith(name)]

    def wait_for(self, trace: str, count: int, name: str = "") -> list[Span]:
        """Return what `of` returns, once it is so many. Errors: AssertionError when it is not, or more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.of(trace, name)) >= count, WAIT_SECONDS)
        spans = self.of(trace, name)
        assert count == len(spans), spans
        return spans

    def take(self, body: bytes) -> None:
        """Keep what an exporter sent."""
        spans = [
            _read(span, {item.key: item.value.string_value for item in resource_spans.resource.attributes})
            for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]
        with self._changed:
            self.bodies.append(body)
            self.spans += spans
            self._changed.notify_all()

    def wait_to_answer(self) -> None:
        """Return when it answers."""
        self._may_answer.wait(WAIT_SECONDS)

    def _listen(self, port: int) -> ThreadingHTTPServer:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.wait_to_answer()
                receiver.keys.add(self.headers.get("Authorization", ""))
                receiver.take(body)
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), name="otlp", daemon=True).start()
        return server


def _read(span: trace_pb2.Span, resource: dict[str, str]) -> Span:
    return Span(
        service=resource["service.name"],
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        attributes={item.key: _value(item) for item in span.attributes},
        writes=[_value(item) for event in span.events for item in event.attributes if item.key == "roots.clients"],
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        is_error=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
    )


def _value(item: KeyValue) -> Any:
    return getattr(item.value, str(item.value.WhichOneof("value")))
