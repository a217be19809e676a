"""Tracing: the spans of a change on its way from the request to the answers of polls.

Off unless the environment asks for it, with the variables that every OpenTelemetry SDK has. While it is off each call
here does nothing, and OpenTelemetry is not even imported: `otel` does that, and only `open_tracing` imports `otel`. No
span holds a uid, a token, a key or a message (I10). Source: docs/operations.md, Tracing.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from roots.contracts.events import Event
from roots.runtime.config import load_or_exit, setting

# The writes of one delivery that its span lists; a fan-out to many clients takes more, and only counts those.
MAX_WRITES = 32

_SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)
_PROTOCOL = "http/protobuf"
_EXPORTERS = ("otlp", "none")
# What the SDK takes; it would log what it does not, and that may be a key.
_HEADER = re.compile(r"[\w.-]+[ \t]*=[ !#-+\--:<-\[\]-~]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingConfig:
    """Whether to trace, and where to: OpenTelemetry's own variables, as far as it matters whether they are right.

    The SDK reads the others itself, as those of its queue, of the resource and of TLS.
    """

    sdk_disabled: str = setting("OTEL_SDK_DISABLED", default="")
    exporter: str = setting("OTEL_TRACES_EXPORTER", default="")
    endpoint: str = setting("OTEL_EXPORTER_OTLP_ENDPOINT", default="")
    traces_endpoint: str = setting("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", default="")
    protocol: str = setting("OTEL_EXPORTER_OTLP_PROTOCOL", default="")
    traces_protocol: str = setting("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", default="")
    headers: str = setting("OTEL_EXPORTER_OTLP_HEADERS", default="", is_secret=True)
    traces_headers: str = setting("OTEL_EXPORTER_OTLP_TRACES_HEADERS", default="", is_secret=True)
    sampler: str = setting("OTEL_TRACES_SAMPLER", default="")
    sampler_arg: str = setting("OTEL_TRACES_SAMPLER_ARG", default="")

    @property
    def is_on(self) -> bool:
        """Whether the environment asks for traces: by an exporter, or by an endpoint alone."""
        if self.sdk_disabled.lower() == "true":
            return False
        return self.exporter != "none" and bool(self.exporter or self.endpoint or self.traces_endpoint)

    def problems(self) -> list[str]:
        """Return what can't be used of it; nothing while it is off."""
        if not self.is_on:
            return []
        problems = []
        if self.exporter and self.exporter not in _EXPORTERS:
            problems.append(f"OTEL_TRACES_EXPORTER is wrong: it must be one of {', '.join(_EXPORTERS)}")
        if (self.traces_protocol or self.protocol or _PROTOCOL) != _PROTOCOL:
            problems.append(f"OTEL_EXPORTER_OTLP_PROTOCOL is wrong: traces leave as {_PROTOCOL}, mostly to port 4318")
        for variable, url in (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", self.traces_endpoint),
        ):
            if url and not url.startswith(("http://", "https://")):
                problems.append(f"{variable} is wrong: it begins with http:// or https://")
        for variable, headers in (
            ("OTEL_EXPORTER_OTLP_HEADERS", self.headers),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", self.traces_headers),
        ):
            if not all(_HEADER.fullmatch(header.strip()) for header in headers.split(",") if header.strip()):
                problems.append(f"{variable} is wrong: it is name=value, more of them separated by commas")
        if self.sampler and self.sampler not in _SAMPLERS:
            problems.append(f"OTEL_TRACES_SAMPLER is wrong: it must be one of {', '.join(_SAMPLERS)}")
        if self.sampler.endswith("traceidratio") and not _is_ratio(self.sampler_arg):
            problems.append("OTEL_TRACES_SAMPLER_ARG is wrong: it is the part of the traces to keep, from 0 to 1")
        return problems


@dataclass(slots=True, kw_only=True)
class Delivery:
    """What one replica has done with one event, up to now.

    Shape: writes has the first of its writes as (nanoseconds since 1970, clients); is_catch_up means that all of it was
        for clients that came for the event later.
    """

    traceparent: str
    path: str
    seq: int
    began_ns: int
    ended_ns: int
    is_catch_up: bool
    clients: int = 0
    writes: list[tuple[int, int]] = field(default_factory=list)

    def note(self, written_ns: int, clients: int) -> None:
        """Take note that the event was written to so many more clients."""
        self.ended_ns = written_ns
        self.clients += clients
        if len(self.writes) < MAX_WRITES:
            self.writes.append((written_ns, clients))


class Publishing:
    """A publish under way. Shape: events are to be published as they are here, each with the trace it belongs to."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """End the spans without an outcome as unknown."""

    def end(self, outcomes: Iterable[tuple[str, bool]]) -> None:
        """Record the outcome of each event, and whether the stream has it."""


class Tracing:
    """The spans that a service records; this one records none, and is used while tracing is off."""

    is_on = False

    def middleware(self) -> list[Any]:
        """Return the Falcon middleware that records each request; it belongs before all other."""
        return []

    def publish(self, events: Sequence[Event]) -> Publishing:
        """Begin the spans of the publish of `events`."""
        return Publishing(events)

    def deliver(self, delivery: Delivery) -> None:
        """Report a delivery that is over."""

    def stop(self) -> None:
        """Send what was not sent yet, if that can be done in a moment."""


OFF = Tracing()


def open_tracing(service: str) -> Tracing:
    """Return the tracing that the environment asks for; end the process when it asks for what can't be."""
    config = load_or_exit(TracingConfig)
    if not config.is_on:
        return OFF
    # 250 modules and 12 MB, loaded only when tracing is on.
    from roots.tracing.otel import OpenTelemetry  # noqa: PLC0415

    return OpenTelemetry(service, config)


def _is_ratio(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
