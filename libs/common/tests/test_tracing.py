"""Whether a process traces, and what it costs one that does not."""

import subprocess
import sys

import pytest

from roots.contracts.events import Event
from roots.runtime.config import ConfigError, load
from roots.tracing.traceparent import sampled_trace_id
from roots.tracing.tracing import OFF, TracingConfig

TRACE = "0af7651916cd43dd8448eb211c80319c"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
STARTED_OFF = """
import sys
import roots_longpoll.__main__, roots_subscriptions.__main__, roots_tasks.__main__
from roots.tracing.tracing import OFF, open_tracing
assert open_tracing("tasks") is OFF
print(*(name for name in sys.modules if name.startswith(("opentelemetry", "google", "requests"))))
"""


def test_nothing_of_it_is_imported_when_tracing_is_off() -> None:
    """A process that does not trace has none of OpenTelemetry in its memory, nor what that needs."""
    done = subprocess.run([sys.executable, "-c", STARTED_OFF], env={}, capture_output=True, text=True, check=False)
    assert (0, "\n", "") == (done.returncode, done.stdout, done.stderr)


def test_events_go_on_as_they_came_when_tracing_is_off() -> None:
    """Also with the trace that the request named."""
    events = [Event(path="tasks", message=b"", event_id="1", committed_ns=0, traceparent=f"00-{TRACE}-{'1' * 16}-01")]
    with OFF.publish(events) as publishing:
        assert publishing.events is events


@pytest.mark.parametrize(
    ("environ", "is_on"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "tasks", "OTEL_TRACES_SAMPLER": "always_on"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": ""}, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20a-key, x-team = roots"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_tracing_is_on_when_the_environment_asks_for_it(environ: dict[str, str], *, is_on: bool) -> None:
    """By an exporter or an endpoint; a sampler or a name alone are no wish to trace."""
    assert is_on == load(TracingConfig, environ).is_on


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "Bearer a-key"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x=1,y=a\nkey"}, "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "some"}, "OTEL_TRACES_SAMPLER"),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "traceidratio"}, "OTEL_TRACES_SAMPLER_ARG"),
        (
            {**ENDPOINT, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"},
            "OTEL_TRACES_SAMPLER_ARG",
        ),
    ],
)
def test_variable_is_named_when_it_is_wrong(environ: dict[str, str], variable: str) -> None:
    """The SDK would fall back to a default, and tell of it among the logs; what may be a key is not repeated."""
    with pytest.raises(ConfigError) as failure:
        load(TracingConfig, environ)
    (problem,) = failure.value.problems
    assert problem.startswith(f"{variable} is wrong: ")
    assert "key" not in problem


def test_wrong_variables_are_nobodys_business_when_tracing_is_off() -> None:
    """A platform may set them for others: the process starts."""
    environ = {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert not load(TracingConfig, environ).is_on


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"00-{TRACE}-b7ad6b7169203331-03", TRACE),
        (f"00-{TRACE}-b7ad6b7169203331-00", None),
        (f"00-{TRACE}-b7ad6b7169203331-02", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{TRACE}-b7ad6b7169203331-01-more", None),
        ("trace-1", None),
        (None, None),
    ],
)
def test_trace_id_is_told_when_it_is_sampled(traceparent: str | None, trace_id: str | None) -> None:
    """Whoever published may have written anything."""
    assert trace_id == sampled_trace_id(traceparent)
