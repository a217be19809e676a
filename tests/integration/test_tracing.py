"""One change's trace, from the request that writes it to the answers that carry it."""

import asyncio
import json
import secrets
import threading
import time
import urllib.request
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import clock, stretched, within

from roots.contracts.events import Event
from roots.tracing import otel
from roots.tracing.tracing import open_tracing
from roots_devstack.stack import Stack, StackConfig

from . import metrics
from .http_client import Answer, HttpConnection
from .leaks import Leaks
from .listener import Listener
from .otlp import WAIT_SECONDS, Receiver, Span

PARENT = "00f067aa0ba902b7"
DESCRIPTION = "a description that belongs in no span"
BACKEND_KEY = "a-back-end-key-for-the-tests-of-tracing"
RECEIVER_KEY = "a-key-that-the-receiver-wants-to-see"
POLICY = """
[apps.tasks]
allow = [{ paths = ["tasks", "rooms/*"], who = "anyone" }]
read = "anyone"
write = "anyone"

[backends.todos]
key_file = "backend"
publish = ["**"]
grant = ["**"]
"""
# So many that the relay publishes them as one batch.
BEHIND = 30
# What a write and its event take at most on a busy machine, and so long an export waits.
WRITE_SECONDS = 4.0
EXPORT_SECONDS = 5


class Lines:
    """All that the processes wrote; of what tasks wrote when it had answered a request, the fields."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._answered: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def take(self, name: str, line: str) -> None:
        """Keep a line."""
        self.all.append(line)
        if name == "tasks" and '"event": "request"' in line:
            with self._changed:
                self._answered.append(json.loads(line))
                self._changed.notify_all()

    def wait_for(self, name: str, value: object) -> dict[str, Any]:
        """Return the one answered request whose field `name` has this value."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self._answered if line[name] == value]

        with self._changed:
            assert self._changed.wait_for(found, WAIT_SECONDS)
            (line,) = found()
            return line


class Traced(NamedTuple):
    """A running system that traces, and what it tells."""

    stack: Stack
    home: Path
    receiver: Receiver
    lines: Lines

    @property
    def backend_api(self) -> str:
        """Where back ends publish."""
        return str(self.stack.processes["subscriptions"].backend_api_url)

    @property
    def replica(self) -> str:
        """Where the tests' clients poll."""
        return str(self.stack.processes["longpoll-1"].url)

    @property
    def admin(self) -> str:
        """Where that replica tells of itself."""
        return str(self.stack.processes["longpoll-1"].admin_url)


@pytest.fixture(scope="module")
def traced(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Yield the system, with two replicas of longpoll."""
    folder = tmp_path_factory.mktemp("traced")
    for name, text in (("policy.toml", POLICY), ("backend", BACKEND_KEY), ("headers", f"authorization={RECEIVER_KEY}")):
        (folder / name).write_text(text)
    lines = Lines()
    with Receiver() as receiver:
        config = StackConfig(
            home=folder / "home",
            longpoll_replicas=2,
            sink=lines.take,
            extra_env={
                "ROOTS_LOG_LEVEL": "debug",
                "ROOTS_POLICY": str(folder / "policy.toml"),
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
                "OTEL_EXPORTER_OTLP_HEADERS_FILE": str(folder / "headers"),
                "OTEL_EXPORTER_OTLP_TIMEOUT": str(EXPORT_SECONDS),
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "OTEL_BSP_MAX_QUEUE_SIZE": "",
                "OTEL_TRACES_SAMPLER": "",
                "NO_PROXY": "127.0.0.1",
            },
        )
        with background.entered(Stack(config)) as stack:
            yield Traced(stack, config.home, receiver, lines)


def begin(flags: str = "01") -> tuple[str, dict[str, str]]:
    """Return a new trace, and the header of a request that belongs to it."""
    trace = secrets.token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{PARENT}-{flags}"}


async def ask(url: str, target: str, body: object, headers: dict[str, str]) -> Answer:
    """Send one request."""
    async with HttpConnection(url) as connection:
        return await connection.request("POST", target, body, headers)


async def create(traced: Traced, headers: dict[str, str]) -> str:
    """Create a task through the gateway; return what clients hear of it."""
    answer = await ask(traced.stack.url, "/tasks", {"description": DESCRIPTION}, headers)
    assert answer.status == 201, answer
    guid: str = answer.json["content"]["guid"]
    return guid


async def hear(traced: Traced, path: str, change: Coroutine[Any, Any, object]) -> None:
    """Let `change` happen while a client's poll is held, and return once the client has heard of it."""
    async with listener(traced) as client:
        await client.begin([path])
        hearing = asyncio.create_task(client.poll_until(lambda: bool(client.messages(path))))
        async with within(WAIT_SECONDS):
            while not await asyncio.to_thread(metrics.value, traced.admin, "roots_longpoll_polls_held"):
                pass
        await change
        await hearing


def listener(traced: Traced) -> Listener:
    """Return a client of the first replica."""
    return Listener(traced.replica, traced.stack.url)


def only(spans: list[Span]) -> Span:
    """Return the one span that there is."""
    (span,) = spans
    return span


def check_way(receiver: Receiver, trace: str, *, publisher: str, path: str) -> Span:
    """Return the first span of the trace, after a look at what became of its one event: two replicas, one client."""
    spans = receiver.wait_for(trace, 4)
    request = only([span for span in spans if span.parent == PARENT])
    publish = only([span for span in spans if span.name == "publish ROOTS_EVENTS"])
    deliveries = [span for span in spans if span.name == "deliver ROOTS_EVENTS"]

    assert (publisher, request.id, path) == (publish.service, publish.parent, publish.attributes["roots.path"])
    assert "stored" == publish.attributes["roots.outcome"]
    assert [("roots-longpoll", publish.id, [(trace, publish.id)])] * 2 == [
        (span.service, span.parent, span.links) for span in deliveries
    ]
    assert [(0, []), (1, [1])] == sorted((span.attributes["roots.clients"], span.writes) for span in deliveries)
    assert {(path, False)} == {
        (span.attributes["roots.path"], span.attributes["roots.is_catch_up"]) for span in deliveries
    }
    assert 1 == len({span.attributes["roots.seq"] for span in deliveries})
    assert request.began_ns <= publish.began_ns <= min(span.began_ns for span in deliveries)
    assert all(span.began_ns <= span.ended_ns for span in spans)
    assert not any(span.is_error for span in spans)
    return request


def test_write_is_one_trace_when_a_client_hears_it(traced: Traced) -> None:
    """The caller's trace goes on: request, publish of the relay, and a linked delivery by each replica."""
    trace, headers = begin()
    asyncio.run(hear(traced, "tasks", create(traced, headers)))
    request = check_way(traced.receiver, trace, publisher="roots-relay", path="tasks")
    assert ("roots-tasks", "POST /tasks") == (request.service, request.name)
    assert {"http.request.method": "POST", "http.route": "/tasks", "http.response.status_code": 201} == (
        request.attributes
    )


@pytest.mark.parametrize(("target", "name"), [("/v1/publish", "POST /v1/publish"), ("/", "POST /")])
def test_publish_is_one_trace_when_it_came_through_the_backend_api(traced: Traced, target: str, name: str) -> None:
    """The back-end API publishes itself; the rest of the way is the same, in the form of 2009 as well."""
    trace, headers = begin()
    path = f"rooms/{trace[:8]}"
    message = [{"path": path, "message": json.dumps(DESCRIPTION)}]
    headers["Authorization"] = f"Bearer {BACKEND_KEY}"

    asyncio.run(hear(traced, path, ask(traced.backend_api, target, message, headers)))
    request = check_way(traced.receiver, trace, publisher="roots-subscriptions", path=path)
    assert ("roots-subscriptions", name) == (request.service, request.name)


def test_late_client_makes_a_delivery_of_its_own_when_it_comes_for_the_event(traced: Traced) -> None:
    """What nobody heard at once is told too, and who comes later is told apart, in the same trace."""
    trace, headers = begin()

    async def come_late() -> None:
        async with listener(traced) as client:
            await client.begin(["tasks"])
            await create(traced, headers)
            await asyncio.to_thread(traced.receiver.wait_for, trace, 4)
            await client.poll_until(lambda: bool(client.messages()))

    asyncio.run(come_late())
    deliveries = traced.receiver.wait_for(trace, 3, "deliver")
    assert [(0, False), (0, False), (1, True)] == [
        (span.attributes["roots.clients"], span.attributes["roots.is_catch_up"]) for span in deliveries
    ]
    assert 1 == len({span.parent for span in deliveries})


def test_nothing_is_told_when_the_request_is_sampled_out(traced: Traced) -> None:
    """The caller has decided; a request that comes later, and is told, shows that nothing was still under way."""
    unsampled, unsampled_headers = begin("00")
    sampled, headers = begin()

    async def write() -> None:
        async with listener(traced) as client:
            await client.begin(["tasks"])
            guids = {await create(traced, unsampled_headers), await create(traced, headers)}
            await client.poll_until(lambda: guids <= {task["guid"] for task in client.messages()})

    asyncio.run(write())
    traced.receiver.wait_for(sampled, 4)
    assert [] == traced.receiver.of(unsampled)


def test_each_event_keeps_its_trace_when_they_are_published_as_a_batch(background: LoopThread, traced: Traced) -> None:
    """Each event of an atomic batch has the header of its own, though all share the outcome."""
    traces = dict(begin() for _ in range(BEHIND))

    async def write() -> None:
        for headers in traces.values():
            await create(traced, headers)

    background.run(traced.stack.part("relay").process.stop())
    asyncio.run(write())
    background.run(traced.stack.part("relay").process.start())

    receiver = traced.receiver
    requests = [only(receiver.wait_for(trace, 1, "POST")) for trace in traces]
    publishes = [only(receiver.wait_for(trace, 1, "publish")) for trace in traces]
    assert [request.id for request in requests] == [publish.parent for publish in publishes]
    assert {(BEHIND, "stored")} == {
        (span.attributes["messaging.batch.message_count"], span.attributes["roots.outcome"]) for span in publishes
    }
    for trace, publish in zip(traces, publishes, strict=True):
        deliveries = receiver.wait_for(trace, 2, "deliver")
        assert [publish.id] * 2 == [span.parent for span in deliveries]


def test_latency_names_a_trace_when_it_is_scraped_as_openmetrics(traced: Traced) -> None:
    """From a slow bucket of the histogram one click leads to a change that was in it."""
    trace, headers = begin()
    asyncio.run(hear(traced, "tasks", create(traced, headers)))
    text = metrics_of(traced, "application/openmetrics-text; version=1.0.0")
    buckets = {
        sample.exemplar.labels["trace_id"]: (sample.exemplar.value, float(sample.labels["le"]))
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }
    seconds, bound = buckets[trace]
    assert 0 < seconds <= bound
    assert trace not in metrics_of(traced, "text/plain")


def metrics_of(traced: Traced, accept: str) -> str:
    """Return what the first replica tells Prometheus."""
    url = f"{traced.admin}/metrics"
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310  # a loopback URL
    with urllib.request.urlopen(request, timeout=stretched(5)) as answer:  # noqa: S310  # a loopback URL
        text: str = answer.read().decode()
        return text


def test_log_lines_name_the_trace_when_a_request_is_answered(traced: Traced) -> None:
    """What a service says while it answers a request is found by the trace of that request, and of no other."""
    traces = dict(begin() for _ in range(3))
    for headers in traces.values():
        asyncio.run(create(traced, headers))

    for trace in traces:
        span = only(traced.receiver.wait_for(trace, 1, "POST"))
        assert span.id == traced.lines.wait_for("trace_id", trace)["span_id"]


def test_trace_begins_when_a_request_has_none(traced: Traced) -> None:
    """Without a caller's trace the service begins one; a client's fault is no error of the service."""
    answer = asyncio.run(ask(traced.stack.url, "/tasks", {"description": ""}, {}))
    assert 422 == answer.status

    trace = traced.lines.wait_for("status", 422)["trace_id"]
    span = only(traced.receiver.wait_for(trace, 1))
    assert ("", 422, False) == (span.parent, span.attributes["http.response.status_code"], span.is_error)


def test_nothing_is_complained_of_when_variables_are_empty(traced: Traced) -> None:
    """As in a container whose settings are there to be filled in: an empty one is as good as none."""
    assert [] == [line for line in traced.lines.all if "OTEL_" in line or "recognize" in line]


@pytest.mark.parametrize("how", ["silent", "away"])
def test_nothing_waits_when_the_receiver_fails(traced: Traced, how: str) -> None:
    """Writes are as quick as ever and each is heard; traces come again when it is back."""
    receiver = traced.receiver
    if how == "silent":
        receiver.fall_silent()
    else:
        receiver.go_away()

    async def write() -> list[float]:
        seconds = []
        written = set()
        async with listener(traced) as client:
            await client.begin(["tasks"])
            for _ in range(10):
                began = clock()
                written.add(await create(traced, begin()[1]))
                await client.poll_until(lambda: written <= {task["guid"] for task in client.messages()})
                seconds.append(clock() - began)
        return seconds

    try:
        assert max(asyncio.run(write())) < WRITE_SECONDS
    finally:
        receiver.come_back()
    trace, headers = begin()
    asyncio.run(create(traced, headers))
    receiver.wait_for(trace, 4)


def test_process_ends_in_time_when_the_receiver_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be sent until then is given up; the SDK by itself waits for half a minute."""
    with Receiver() as receiver:
        receiver.fall_silent()
        monkeypatch.setattr(otel, "STOP_SECONDS", 0.5)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(WAIT_SECONDS))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        tracing = open_tracing("test")
        traceparent = begin()[1]["traceparent"]
        event = Event(path="tasks", message=b"", event_id="1", committed_ns=0, traceparent=traceparent)
        with tracing.publish([event]) as publishing:
            publishing.end([("stored", True)])
        began, counted = time.monotonic(), clock()
        tracing.stop()
        assert time.monotonic() - began >= 0.5
        assert clock() - counted < 10


def test_no_span_holds_a_secret_when_everything_was_done(traced: Traced) -> None:
    """I10: no uid, key or text of a message is in what the tests above let the services send, or write about it."""
    leaks = Leaks(traced.home, [BACKEND_KEY, DESCRIPTION, RECEIVER_KEY])
    assert {RECEIVER_KEY} == traced.receiver.keys
    assert {"roots-tasks", "roots-relay", "roots-subscriptions", "roots-longpoll"} <= {
        span.service for span in traced.receiver.spans
    }
    assert [] == leaks.lines([*traced.lines.all, *(body.decode("latin-1") for body in traced.receiver.bodies)])
