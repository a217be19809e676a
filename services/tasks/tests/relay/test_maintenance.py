"""What the relay does beside delivery, and that no delivery waits for it; between a real Postgres and a real NATS."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import clock, wait_until
from tests.testkit.faults import family

from roots_devstack.servers.postgres import ROLE, Postgres
from roots_outbox.postgres import ANSWER_SECONDS
from roots_tasks.storage import migrate
from roots_tasks.storage.maintenance import PRUNE_LIMIT

from ..support import Command, Nats, Sql, frozen, relay_environment

EVENT = b"INSERT INTO outbox (path, ordering_key, message) VALUES ('tasks', 1, '{}')"
EVENTS = b"""
INSERT INTO outbox (path, ordering_key, message)
SELECT 'tasks', 1 + n %% 1000, '{"n":1}' FROM generate_series(1, %s) AS n
"""
EXPIRED_KEYS = b"""
INSERT INTO idempotency_key (key, request_digest, task_id, content, created_at)
SELECT 'key-' || n, '', n, '', now() - interval '25 hours' FROM generate_series(1, %s) AS n
"""
MAINTENANCE = "roots-tasks-maintenance"
# The usual latency is some milliseconds; a relay that waited for its maintenance, or lost its session, takes seconds.
LATENCY_SECONDS = 1.0


def deliver(db: Sql, nats: Nats, seconds: float) -> None:
    """Commit an event again and again for `seconds`, and fail when one is not in the stream within LATENCY_SECONDS."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        before = nats.last_sequence()
        began = clock()
        db.rows(EVENT)
        db.rows(b"NOTIFY roots_outbox")
        wait_until(lambda before=before: nats.last_sequence() > before)  # type: ignore[misc]
        assert clock() - began < LATENCY_SECONDS


def has_led_once(relay: Command) -> bool:
    """Tell whether the relay has never lost its session."""
    return relay.log().count("leads: this relay publishes") == 1


def stays_unready(is_ready: Callable[[], bool], seconds: float) -> bool:
    """Tell whether a process is unready for `seconds`."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        if is_ready():
            return False
        time.sleep(0.1)
    return True


def test_expired_keys_are_pruned_when_they_are_more_than_one_statement_takes(relay: Command, db: Sql) -> None:
    """All keys of yesterday go, some at a time, and the others stay."""
    db.rows(EXPIRED_KEYS, 2 * PRUNE_LIMIT + 1)
    db.rows(b"UPDATE idempotency_key SET created_at = now() WHERE key = 'key-7'")
    with relay:
        wait_until(lambda: db.rows(b"SELECT key FROM idempotency_key") == [("key-7",)])


def test_events_go_on_when_an_expired_key_is_locked(relay: Command, nats: Nats, db: Sql) -> None:
    """A lock on one expired key delays no event; the other keys are pruned, and that one stays."""
    db.rows(EXPIRED_KEYS, 3)
    holder = db.another()
    with holder.connection, holder.connection.transaction():
        holder.rows(b"SELECT 1 FROM idempotency_key WHERE key = 'key-2' FOR UPDATE")
        with relay:
            wait_until(relay.is_ready)
            deliver(db, nats, 6.0)
            assert db.rows(b"SELECT key FROM idempotency_key") == [("key-2",)]
            assert has_led_once(relay)


def test_events_go_on_when_the_table_of_keys_is_locked(relay: Command, nats: Nats, db: Sql) -> None:
    """A statement of maintenance that waits is ended by its time limit, and delays no event."""
    holder = db.another()
    with holder.connection, holder.connection.transaction():
        holder.rows(b"LOCK TABLE idempotency_key IN ACCESS EXCLUSIVE MODE")
        with relay:
            wait_until(relay.is_ready)
            wait_until(lambda: "maintenance_failed" in relay.log())
            deliver(db, nats, 3.0)
            assert has_led_once(relay)


def test_events_go_on_when_the_measure_hangs(relay: Command, nats: Nats, db: Sql) -> None:
    """A measure without an end delays no event; the check of the outbox fails by its age, and holds again later."""
    with relay:
        wait_until(relay.is_ready)
        wait_until(lambda: len(db.backends(MAINTENANCE)) == 1)
        with frozen(db.backends(MAINTENANCE)):
            deliver(db, nats, ANSWER_SECONDS + 3.0)
            wait_until(lambda: "no answer for" in relay.check("outbox")[1])
            deliver(db, nats, 1.0)
        wait_until(relay.is_ready)
        assert has_led_once(relay)


def test_count_is_an_estimate_when_the_outbox_is_huge(own_nats: Nats, db: Sql, tmp_path: Path) -> None:
    """The extent of a hundred thousand events is measured in bounded time while they wait, and all are delivered."""
    db.rows(EVENTS, 100_000)
    with Command("relay", tmp_path, **relay_environment(own_nats, db.url)) as relay:
        wait_until(lambda: relay.metric("roots_tasks_outbox_pending") == 100_000)
        db.rows(b"DELETE FROM outbox WHERE id > 30000")
        wait_until(lambda: relay.metric("roots_tasks_outbox_pending") == 30_000)
        db.rows(b"DELETE FROM outbox WHERE id > 5000")
        wait_until(lambda: relay.metric("roots_tasks_outbox_pending") == 5_000)
        own_nats.start()
        own_nats.provision()
        wait_until(lambda: db.count_outbox() == 0)
        wait_until(lambda: relay.metric("roots_tasks_outbox_pending") == 0)
        assert "maintenance_failed" not in relay.log()


def test_events_go_on_when_an_acknowledged_row_is_locked(relay: Command, nats: Nats, db: Sql) -> None:
    """I11: a row that the stream has, but somebody else has locked, is deleted later, and holds nothing up."""
    start = nats.last_sequence()
    db.rows(EVENT)
    holder = db.another()
    with holder.connection, relay:
        with holder.connection.transaction():
            holder.rows(b"SELECT 1 FROM outbox FOR UPDATE")
            wait_until(lambda: nats.last_sequence() == start + 1)
            deliver(db, nats, 6.0)
            wait_until(lambda: db.count_outbox() == 1)
        wait_until(lambda: db.count_outbox() == 0)
        assert has_led_once(relay)
        assert relay.metric('roots_tasks_relay_published_total{result="repeated"}') == 0


def test_relay_is_unready_with_the_reason_when_an_event_waits_too_long(own_nats: Nats, db: Sql, tmp_path: Path) -> None:
    """The age of the outbox counts, also before the first try to publish."""
    db.rows(EVENT)
    db.rows(b"UPDATE outbox SET committed_at = now() - interval '1 minute'")
    with Command("relay", tmp_path, **relay_environment(own_nats, db.url)) as relay:
        wait_until(lambda: relay.check("outbox")[1].startswith("the oldest event has waited 6"))
        assert not relay.check("outbox")[0]
        own_nats.start()
        own_nats.provision()
        wait_until(relay.is_ready)
        assert relay.check("outbox") == (True, "the outbox is empty")


@pytest.mark.parametrize("name", ["serve", "relay"])
def test_process_is_unready_when_postgres_is_frozen(
    nats: Nats, background: LoopThread, tmp_path: Path, name: str
) -> None:
    """A Postgres that takes connections and answers nothing: unready within seconds, and ready again after it."""
    with background.entered(Postgres(tmp_path)) as postgres:
        migrate.migrate(postgres.owner_url, migrate.packaged(), print, role=ROLE)
        with Command(name, tmp_path, **relay_environment(nats, postgres.url)) as command:
            wait_until(command.is_ready)
            assert postgres.process.pid is not None
            with frozen(family(postgres.process.pid)):
                began = clock()
                wait_until(lambda: not command.check("postgres")[0])
                assert clock() - began < 8.0
                assert stays_unready(command.is_ready, 12.0)
            wait_until(command.is_ready)


def test_request_is_told_to_come_back_when_postgres_is_frozen(background: LoopThread, tmp_path: Path) -> None:
    """No request waits for a frozen Postgres: each is a 503 within seconds, and the service works on afterwards."""
    with background.entered(Postgres(tmp_path)) as postgres:
        migrate.migrate(postgres.owner_url, migrate.packaged(), print, role=ROLE)
        with Command("serve", tmp_path, ROOTS_DATABASE_URL=postgres.url) as serve:
            wait_until(serve.is_ready)
            assert serve.request("POST", "/tasks", {"description": "x"}).status == 201
            assert postgres.process.pid is not None
            with frozen(family(postgres.process.pid)):
                for _ in range(3):
                    began = clock()
                    assert serve.request("GET", "/tasks").status == 503
                    assert clock() - began < 10.0
            wait_until(serve.is_ready)
            assert serve.request("GET", "/tasks").status == 200
