"""The relay as a process, between a real Postgres and a real nats-server."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from roots_common.events import EVENT_ID_HEADER, TIME_HEADER, TRACEPARENT_HEADER
from roots_tasks import delivery

from .support import Command, Nats, Sql, relay_environment, wait_until

INSERT = b"""
INSERT INTO outbox (path, task_id, message, traceparent)
SELECT 'tasks', 1 + n %% %s, json_build_object('task', 1 + n %% %s, 'n', n)::text, 'trace-' || n
FROM generate_series(1, %s) AS n
"""


def insert(db: Sql, *, tasks: int, events: int) -> None:
    """Commit `events` events, of `tasks` tasks in turn."""
    db.rows(INSERT, tasks, tasks, events)


def numbers_by_task(messages: list[dict[str, Any]]) -> dict[int, list[int]]:
    """Return the numbers of the messages of each task, in order."""
    numbers: dict[int, list[int]] = {}
    for message in messages:
        numbers.setdefault(message["task"], []).append(message["n"])
    return numbers


def test_event_reaches_the_stream_when_committed(relay: Command, nats: Nats, db: Sql) -> None:
    """I11: what is in the outbox is stored with its id, time and trace, and then leaves the outbox."""
    start = nats.last_sequence()
    insert(db, tasks=1, events=1)
    ((event_id, micros),) = db.rows(
        b"SELECT event_id::text, (extract(epoch FROM committed_at) * 1000000)::bigint FROM outbox"
    )
    with relay:
        wait_until(relay.is_ready)
        wait_until(lambda: db.count_outbox() == 0)
        (event,) = nats.events(start)
        assert json.loads(event.data) == {"task": 1, "n": 1}
        assert event.headers[EVENT_ID_HEADER] == event_id
        assert event.headers[TIME_HEADER] == str(micros * 1000)
        assert event.headers[TRACEPARENT_HEADER] == "trace-1"
        assert relay.metric('roots_tasks_relay_published_total{result="stored"}') == 1
        assert relay.metric("roots_tasks_relay_is_leader") == 1
        wait_until(lambda: relay.metric("roots_tasks_outbox_pending") == 0)


def test_events_of_each_task_stay_in_order_when_writers_race(relay: Command, nats: Nats, db: Sql) -> None:
    """I2: with writers at work while the relay publishes, each task's events are stored once each, in commit order."""
    start = nats.last_sequence()
    insert_one = b"""
        WITH locked AS (UPDATE task SET version = version + 1 WHERE id = %s RETURNING id, version)
        INSERT INTO outbox (path, task_id, message)
        SELECT 'tasks', id, json_build_object('task', id, 'n', version)::text FROM locked
    """
    db.rows(b"INSERT INTO task (description, is_done) SELECT 'x', false FROM generate_series(1, 5)")

    def write(_writer: int) -> None:
        with psycopg.connect(db.url, autocommit=True) as connection:
            for step in range(50):
                connection.execute(insert_one, [1 + step % 5])

    with relay, ThreadPoolExecutor(6) as pool:
        wait_until(relay.is_ready)
        list(pool.map(write, range(6)))
        wait_until(lambda: db.count_outbox() == 0)
    assert numbers_by_task(nats.messages(start)) == {task: list(range(2, 62)) for task in range(1, 6)}


def test_event_is_stored_once_when_the_relay_is_killed_before_it_deletes(
    relay: Command, nats: Nats, db: Sql, tmp_path: Path
) -> None:
    """I11: killed between the acknowledgement and the delete, the next relay repeats; the stream drops the repeats."""
    start = nats.last_sequence()
    insert(db, tasks=3, events=3)
    admin = Sql(db.url)
    with admin.connection, db.connection.transaction():
        # A reader sees the rows, a delete waits: the relay stands still just where it is to be killed.
        db.rows(b"SELECT 1 FROM outbox FOR UPDATE")
        with relay:
            wait_until(lambda: nats.last_sequence() == start + 3)
            relay.kill()
            # Its session would get the rows when they are free; in a crash of the machine it ends with the relay.
            admin.terminate_others("roots-tasks-relay")
    assert db.count_outbox() == 3
    with Command("relay", tmp_path, **relay_environment(nats, db.url)) as successor:
        wait_until(lambda: db.count_outbox() == 0)
        assert successor.metric('roots_tasks_relay_published_total{result="duplicate"}') == 3
    assert [message["n"] for message in nats.messages(start)] == [1, 2, 3]


def test_nothing_is_lost_when_nats_is_killed_and_returns(own_nats: Nats, db: Sql, tmp_path: Path) -> None:
    """I9, I11: while NATS is down the relay says so and keeps the events; afterwards each is stored once, in order."""
    own_nats.start()
    own_nats.provision()
    with Command("relay", tmp_path, **relay_environment(own_nats, db.url)) as relay:
        insert(db, tasks=3, events=30)
        wait_until(lambda: db.count_outbox() == 0)
        own_nats.kill()
        insert(db, tasks=3, events=30)
        wait_until(lambda: not relay.check("broker")[0])
        wait_until(lambda: relay.metric("roots_tasks_outbox_pending") == 30)
        wait_until(lambda: relay.metric("roots_tasks_outbox_oldest_seconds") > 0)
        own_nats.start()
        wait_until(lambda: db.count_outbox() == 0)
        wait_until(relay.is_ready)
    once = {task: [n for n in range(1, 31) if 1 + n % 3 == task] for task in (1, 2, 3)}
    assert numbers_by_task(own_nats.messages(0)) == {task: numbers * 2 for task, numbers in once.items()}


def test_relay_waits_and_says_so_when_the_stream_is_missing(own_nats: Nats, db: Sql, tmp_path: Path) -> None:
    """Without NATS, and then without the stream, the relay lives, is unready, says why, and starts by itself."""
    insert(db, tasks=1, events=1)
    with Command("relay", tmp_path, **relay_environment(own_nats, db.url)) as relay:
        wait_until(lambda: relay.check("postgres")[0])
        assert relay.check("broker") == (False, "NATS is not connected; trying again")
        own_nats.start()
        wait_until(lambda: "was not provisioned" in relay.check("stream")[1])
        own_nats.provision()
        wait_until(relay.is_ready)
        wait_until(lambda: db.count_outbox() == 0)


@pytest.mark.parametrize("session", ["roots-tasks-leader", "roots-tasks-relay"])
def test_relay_leads_again_when_postgres_ends_a_session(relay: Command, nats: Nats, db: Sql, session: str) -> None:
    """I11: losing either connection ends the session; a new one takes the lock again and goes on."""
    start = nats.last_sequence()
    with relay:
        wait_until(relay.is_ready)
        assert db.terminate_others(session) == 1
        insert(db, tasks=1, events=5)
        wait_until(lambda: db.count_outbox() == 0)
        wait_until(relay.is_ready)
    assert [message["n"] for message in nats.messages(start)] == [1, 2, 3, 4, 5]


def test_publishing_stops_when_the_lock_is_lost(relay: Command, nats: Nats, db: Sql) -> None:
    """I2: a relay that is about to delete when it loses the lock lets go at once, and does not lead without it."""
    insert(db, tasks=1, events=2)
    start = nats.last_sequence()
    admin = Sql(db.url)
    with admin.connection, ExitStack() as running:
        with db.connection.transaction():
            # Before the relay begins: it would have published and deleted all otherwise.
            db.rows(b"SELECT 1 FROM outbox FOR UPDATE")
            running.enter_context(relay)
            wait_until(lambda: nats.last_sequence() == start + 1)
            admin.terminate_others("roots-tasks-leader")
            wait_until(lambda: relay.log().count("leads: this relay publishes") == 2)
        wait_until(lambda: db.count_outbox() == 0)
    assert [message["n"] for message in nats.messages(start)] == [1, 2]


def test_second_relay_stands_by_when_one_leads(relay: Command, nats: Nats, db: Sql, tmp_path: Path) -> None:
    """I2: of two relays one publishes; the other is ready, says that it stands by, and then takes over."""
    start = nats.last_sequence()
    with relay, Command("relay", tmp_path, **relay_environment(nats, db.url)) as second:
        wait_until(lambda: relay.is_ready() and second.is_ready())
        details = {relay: relay.check("postgres")[1], second: second.check("postgres")[1]}
        assert sorted(details.values()) == ["leads: this relay publishes", "stands by; another relay publishes"]
        leader, standby = sorted(details, key=lambda command: details[command])
        assert [command.metric("roots_tasks_relay_is_leader") for command in (leader, standby)] == [1, 0]
        leader.kill()
        insert(db, tasks=1, events=3)
        wait_until(lambda: db.count_outbox() == 0)
        assert standby.check("postgres") == (True, "leads: this relay publishes")
    assert [message["n"] for message in nats.messages(start)] == [1, 2, 3]


def test_other_tasks_go_on_when_an_event_is_refused(relay: Command, nats: Nats, db: Sql) -> None:
    """I2: an event that can never be stored stays, counted and tried rarely; it holds back its own task only."""
    start = nats.last_sequence()
    db.rows(b"INSERT INTO outbox (path, task_id, message) VALUES ('tasks', 1, repeat('x', 70000))")
    db.rows(b"INSERT INTO outbox (path, task_id, message) VALUES ('no path', 2, 'x')")
    insert(db, tasks=3, events=9)
    with relay:
        wait_until(lambda: db.count_outbox() == 2 + 6)
        # Two more rounds of the loop: had it not been held back, it would have been refused again.
        insert(db, tasks=1, events=1)
        db.rows(b"INSERT INTO outbox (path, task_id, message) VALUES ('tasks', 4, '{\"task\": 4, \"n\": 1}')")
        wait_until(lambda: nats.last_sequence() == start + 4)
        assert relay.metric('roots_tasks_relay_published_total{result="refused"}') == 2
    assert numbers_by_task(nats.messages(start)) == {3: [2, 5, 8], 4: [1]}
    assert relay.log().count("publish_refused") == 2


def test_relay_waits_and_says_so_when_the_schema_is_missing(
    nats: Nats, empty_database_url: str, tmp_path: Path
) -> None:
    """Against an empty database the relay is unready and names the command that helps."""
    with Command("relay", tmp_path, **relay_environment(nats, empty_database_url)) as relay:
        wait_until(lambda: "python -m roots_tasks migrate" in relay.check("postgres")[1])
        assert not relay.is_ready()


def test_keys_are_pruned_when_they_are_a_day_old(relay: Command, db: Sql) -> None:
    """An idempotency key is kept for 24 hours."""
    add = b"""
        INSERT INTO idempotency_key (key, request_digest, task_id, content, created_at)
        VALUES (%s, '', 1, '{}', now() - %s::interval)
    """
    db.rows(add, "old", "24 hours 1 second")
    db.rows(add, "young", "23 hours 59 minutes")
    with relay:
        wait_until(lambda: db.rows(b"SELECT key FROM idempotency_key") == [("young",)])


def test_batch_under_way_is_finished_when_the_relay_is_told_to_stop(relay: Command, nats: Nats, db: Sql) -> None:
    """SIGTERM: what is published is deleted too, and the exit status is 0."""
    start = nats.last_sequence()
    insert(db, tasks=delivery.BATCH_LIMIT, events=delivery.BATCH_LIMIT)
    with ThreadPoolExecutor(1) as pool, ExitStack() as running:
        with db.connection.transaction():
            db.rows(b"SELECT 1 FROM outbox FOR UPDATE")
            running.enter_context(relay)
            wait_until(lambda: nats.last_sequence() == start + delivery.BATCH_LIMIT)
            status = pool.submit(relay.stop)
            wait_until(lambda: "stopping" in relay.log())
        assert status.result() == 0
    assert db.count_outbox() == 0
