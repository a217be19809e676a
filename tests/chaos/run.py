"""One run: a real stack, clients and writers, faults, the end, and the judgement."""

import asyncio
import contextlib
import math
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

import uvloop
from tests.testkit.background import LoopThread
from tests.testkit.small_disk import SmallDisk, why_not_mountable

from roots_devstack.errors import DevstackError
from roots_devstack.keys import Keys
from roots_devstack.processes.supervision import Sink, Watch
from roots_devstack.stack import Stack, StackConfig

from . import truth
from .application import Application
from .application_processes import ApplicationProcesses
from .broker_users import RecordReader, broker_user
from .chance import source
from .check import Judgement, judge
from .client import Client
from .clocks import Clocks
from .faults import kinds, matching
from .history import Fault, History
from .kick import kick_kinds
from .log import Log
from .notes import Notes
from .processes import Processes
from .publisher import Publisher
from .recovery import recoveries
from .report import report
from .routes import Routes, open_routes
from .schedule import Schedule, no_rest
from .settings import APPLICATION_KEY, APPLICATION_POLICY, POLICY, REPLICAS, Settings, bounds
from .stopwatch import Stopwatch
from .task_writer import KnownTask, TaskWriter
from .violations import Violation

BEGIN_SECONDS = 3.0
CALM_SECONDS = 60.0
CATCH_UP_SECONDS = 90.0
# From the end of a fault until delivery is back, without a person.
BACK_SECONDS = 10.0
# Room for what a run of ten minutes writes.
DISKS_MIB = {"nats": 256, "postgres": 512}
PUBLISHERS = 3
PUBLISHES_PER_SECOND = 8.0
TASK_WRITERS = 3
TASK_WRITES_PER_SECOND = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The end of a run."""

    text: str
    is_good: bool


class System(Protocol):
    """The running system, wherever it runs. Shape: broker_url has every NATS server."""

    @property
    def broker_url(self) -> str:
        """Where NATS listens."""

    def url(self, name: str) -> str:
        """Return where a process serves; Postgres's has the password."""

    async def wait_all_ready(self) -> None:
        """Return once every process is ready. Errors: DevstackError."""


class Trouble(Protocol):
    """What happens to the system meanwhile. Shape: failures has a sentence for each process that stayed unready."""

    faults: list[Fault]
    failures: list[str]

    async def run(self, seconds: float) -> None:
        """Let it happen for `seconds`."""


def run(settings: Settings, home: Path) -> Result:
    """Run chaos in the folder `home`, which keeps the stack's state and `processes.log`."""
    replicas = tuple(f"longpoll-{number}" for number in range(1, REPLICAS + 1))
    policy = home / "policy.toml"
    policy.write_text(POLICY + APPLICATION_POLICY, encoding="utf-8")
    Keys(home / "secrets").get(APPLICATION_KEY)
    clocks = Clocks(home / "clocks")
    with (
        _small_disks(settings, home) as disks,
        (home / "processes.log").open("w", encoding="utf-8") as log,
        LoopThread() as background,
        background.entered(Stack(_stack_config(settings, home, policy, clocks, log))) as stack,
        _application(settings, home, background, stack, log) as beside,
    ):
        processes = Processes(background, stack, [] if beside is None else beside.parts)
        application = None if beside is None else Application(processes, beside.database_url)

        def trouble(routes: Routes, clients: list[Client]) -> Schedule:
            all_kinds = kinds(processes, routes, replicas, disks, clocks, source(settings.seed, "faults"))
            rest = no_rest
            if application is not None:
                all_kinds += kick_kinds(application, processes, clients, source(settings.seed, "kicks"))
                rest = application.catch_up
            chance = source(settings.seed, "schedule")
            return Schedule(matching(all_kinds, settings.faults), processes, chance, rest)

        return Chaos(
            settings, home, processes, stack.url, replicas, trouble, application=application, back_seconds=BACK_SECONDS
        ).happen()


class Chaos:
    """One run on a running system; `home` has its secrets.

    Units: delivery has to be back within `back_seconds` of the end of a fault that came alone.
    """

    def __init__(
        self,
        settings: Settings,
        home: Path,
        processes: System,
        url: str,
        replicas: tuple[str, ...],
        trouble: Callable[[Routes, list[Client]], Trouble],
        *,
        application: Application | None = None,
        back_seconds: float = math.inf,
    ) -> None:
        self._settings = settings
        self._home = home
        self._processes = processes
        self._url = url
        self._replicas = replicas
        self._trouble = trouble
        self._application = application
        self._back_seconds = back_seconds
        self._notes = Notes()
        self._stopwatch = Stopwatch()
        self._failures: list[Violation] = []

    def happen(self) -> Result:
        """Let everything happen, and judge it."""
        with _many_files(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            history = runner.run(self.run())
        return self.judge(history)

    async def run(self) -> History:
        """Let everything happen, and return what did."""
        seed = self._settings.seed
        urls = {name: self._processes.url(name) for name in self._replicas}
        nats_url = self._processes.broker_url
        async with (
            open_routes(self._url, urls, seed) as routes,
            broker_user(self._home, nats_url, "longpoll") as reader,
            broker_user(self._home, nats_url, "subscriptions") as publishing,
            _alongside(self._stopwatch.run()),
        ):
            clients = [
                Client(number, routes, RecordReader(reader), seed, self._notes)
                for number in range(self._settings.clients)
            ]
            publishers = [
                Publisher(number, publishing, seed, PUBLISHES_PER_SECOND, self._notes) for number in range(PUBLISHERS)
            ]
            tasks: list[KnownTask] = []
            task_urls = (routes.gateway_url, routes.proxied_gateway_url)
            task_writers = [TaskWriter(number, task_urls, tasks, seed, self._notes) for number in range(TASK_WRITERS)]
            trouble = self._trouble(routes, clients)
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                listening = [group.create_task(client.listen()) for client in clients]
                changing = [group.create_task(client.change_paths()) for client in clients]
                writing = [group.create_task(publisher.write(stop)) for publisher in publishers]
                writing += [group.create_task(writer.write(stop, TASK_WRITES_PER_SECOND)) for writer in task_writers]
                await asyncio.sleep(BEGIN_SECONDS)
                await trouble.run(self._settings.seconds)
                stop.set()
                await self._settle(clients, routes, writing)
                end = await self._catch_up(clients, listening)
                for task in [*listening, *changing, *writing]:
                    task.cancel()
            self._failures += [Violation(kind="not recovered", sentence=failure) for failure in trouble.failures]
            return await self._history(end, clients, publishers, task_writers, trouble)

    def judge(self, history: History) -> Result:
        """Return the report of a run."""
        log = Log(history.events, history.end)
        judgement: Judgement = judge(history, log)
        recovered = recoveries(history, log)
        late = [
            Violation(
                kind="not recovered", sentence=f"{line.kind}: delivery was back after {line.longest_seconds:.1f} s"
            )
            for line in recovered
            if line.longest_seconds is not None and line.longest_seconds > self._back_seconds
        ]
        violations = self._failures + late + judgement.violations
        text = report(self._settings, history, self._notes, recovered, violations, judgement.excused_seconds)
        return Result(text=text, is_good=not violations and not self._notes.unexpected)

    async def _settle(self, clients: list[Client], routes: Routes, writing: list[asyncio.Task[None]]) -> None:
        """Wait until the writers have done and everything is ready, with no more faults."""
        for client in clients:
            client.calm()
        for proxy in routes.proxies:
            proxy.drops = 0.0
        with self._noting_failure():
            await self._processes.wait_all_ready()
            async with asyncio.timeout(CALM_SECONDS):
                await asyncio.gather(*writing)
            await truth.wait_outbox_empty(self._processes.url("postgres"))
        # Whatever failed: nobody may write any more when the log and the databases are compared.
        with self._noting_failure():
            if self._application is not None:
                await self._application.finish()

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except (DevstackError, TimeoutError) as error:
            self._failures.append(Violation(kind="not recovered", sentence=f"the end: {error!r}"))

    async def _catch_up(self, clients: list[Client], listening: list[asyncio.Task[None]]) -> int:
        """Let every client poll until it has reached the log's end; who has not is found by the checker."""
        async with broker_user(self._home, self._processes.broker_url, "longpoll") as client:
            end = await truth.read_end(client)
        for one in clients:
            one.finish(end)
        await asyncio.wait(listening, timeout=CATCH_UP_SECONDS)
        return end

    async def _history(
        self,
        end: int,
        clients: list[Client],
        publishers: list[Publisher],
        task_writers: list[TaskWriter],
        trouble: Trouble,
    ) -> History:
        async with broker_user(self._home, self._processes.broker_url, "provision") as client:
            events = await truth.read_events(client, end)
        return History(
            clients=[client.history for client in clients],
            published=[publish for publisher in publishers for publish in publisher.published],
            task_writes=[write for writer in task_writers for write in writer.writes],
            events=events,
            end=end,
            rows=await truth.read_rows(self._processes.url("postgres")),
            faults=trouble.faults,
            stalls=self._stopwatch.stalls,
            changes=None if self._application is None else await self._application.read_changes(),
        )


@contextmanager
def _application(
    settings: Settings, home: Path, background: LoopThread, stack: Stack, log: TextIO
) -> Iterator[ApplicationProcesses | None]:
    """Run the application of one's own beside the stack; none when it has no writers."""
    if settings.writers == 0:
        yield None
        return
    watch = Watch(sink=_sink(log))
    with background.entered(ApplicationProcesses(home, stack, writers=settings.writers, watch=watch)) as beside:
        yield beside


def _sink(log: TextIO) -> Sink:
    def sink(name: str, line: str) -> None:
        log.write(f"{name}: {line}\n")

    return sink


def _stack_config(settings: Settings, home: Path, policy: Path, clocks: Clocks, log: TextIO) -> StackConfig:
    return StackConfig(
        home=home,
        longpoll_replicas=REPLICAS,
        nats_nodes=settings.nats_nodes,
        extra_env={**bounds(settings.seed), "ROOTS_POLICY": str(policy), **clocks.env},
        sink=_sink(log),
    )


@contextmanager
def _small_disks(settings: Settings, home: Path) -> Iterator[Mapping[str, SmallDisk]]:
    """Mount a disk that can be filled for each store; none where this process may not, and none for a cluster.

    A server of a cluster is given longer before it is started again, since it may just be catching up.
    """
    if settings.nats_nodes > 1 or why_not_mountable(home / "trial") is not None:
        yield {}
        return
    with contextlib.ExitStack() as mounted:
        yield {name: mounted.enter_context(SmallDisk(home / name, size_mib=mib)) for name, mib in DISKS_MIB.items()}


@contextlib.asynccontextmanager
async def _alongside(work: object) -> AsyncIterator[None]:
    """Run a coroutine meanwhile, and cancel it at the end."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    try:
        yield
    finally:
        task.cancel()


@contextmanager
def _many_files() -> Iterator[None]:
    """Let this process open several connections for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
