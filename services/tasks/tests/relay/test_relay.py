"""The relay as a process, between a real Postgres and a real nats-server."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.testkit.deadlines import clock, wait_until

from roots.contracts.events import EVENT_ID_HEADER, TIME_HEADER, TRACEPARENT_HEADER
from roots_outbox import delivery
from roots_outbox.jetstream import BATCH_FROM

from ..support import Command, Nats, Sql, relay_environment

INSERT = b"""
INSERT INTO outbox (path, ordering_key, message, traceparent)
SELECT 'tasks', 1 + n %% %s, json_build_object('task', 1 + n %% %s, 'n', n)::text, 'trace-' || n
FROM generate_series(1, %s) AS n
"""
# Whether the relay has read what is in the outbox, and so is publishing it.
HAS_READ = b"""
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'roots-tasks-relay' AND state = 'idle'
  AND query LIKE '%deleted AS%' AND query_start > (SELECT max(committed_at) FROM outbox)
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


def test_events_do_not_wait_for_the_next_look_when_they_are_hinted(relay: Command, nats: Nats, db: Sql) -> None:
    """A hint after the commit has the outbox read at once; the other tests here give none, and wait for a look."""
    start = nats.last_sequence()
    with relay:
        wait_until(relay.is_ready)
        began = clock()
        for number in range(1, 11):
            insert(db, tasks=1, events=1)
            db.rows(b"NOTIFY roots_outbox")
            wait_until(lambda number=number: nats.last_sequence() == start + number)  # type: ignore[misc]
        assert clock() - began < 5 * delivery.POLL_SECONDS


def test_events_of_each_task_stay_in_order_when_writers_race(relay: Command, nats: Nats, db: Sql) -> None:
    """I2: with writers at work while the relay publishes, each task's events are stored once each, in commit order."""
    start = nats.last_sequence()
    insert_one = b"""
        WITH locked AS (UPDATE task SET version = version + 1 WHERE id = %s RETURNING id, version)
        INSERT INTO outbox (path, ordering_key, message)
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


@pytest.mark.parametrize("events", [3, delivery.BATCH_LIMIT])
def test_event_is_stored_once_when_the_relay_is_killed_before_it_deletes(
    relay: Command, nats: Nats, db: Sql, tmp_path: Path, events: int
) -> None:
    """I11: killed between the acknowledgement and the delete, the next relay repeats; the stream drops the repeats."""
    start = nats.last_sequence()
    insert(db, tasks=events, events=events)
    admin = db.another()
    with admin.connection, db.connection.transaction():
        # A reader sees the rows, a delete waits: the relay stands still just where it is to be killed.
        db.rows(b"SELECT 1 FROM outbox FOR UPDATE")
        with relay:
            wait_until(lambda: nats.last_sequence() == start + events)
            relay.kill()
            # Its session would get the rows when they are free; in a crash of the machine it ends with the relay.
            admin.terminate_others("roots-tasks-relay")
    assert db.count_outbox() == events
    with Command("relay", tmp_path, **relay_environment(nats, db.url)) as successor:
        wait_until(lambda: db.count_outbox() == 0)
        assert successor.metric('roots_tasks_relay_published_total{result="repeated"}') == events
    assert [message["n"] for message in nats.messages(start)] == list(range(1, events + 1))


def test_batch_is_stored_as_one_when_many_events_wait(relay: Command, nats: Nats, db: Sql) -> None:
    """I2: many events go to the stream as one atomic batch, in the order in which they were committed."""
    start = nats.last_sequence()
    insert(db, tasks=delivery.BATCH_LIMIT, events=delivery.BATCH_LIMIT)
    with relay:
        wait_until(lambda: db.count_outbox() == 0)
        assert relay.metric('roots_tasks_relay_published_total{result="stored"}') == delivery.BATCH_LIMIT
    events = nats.events(start)
    assert [json.loads(event.data)["n"] for event in events] == list(range(1, delivery.BATCH_LIMIT + 1))
    assert len({event.headers["Nats-Batch-Id"] for event in events}) == 1


def test_rest_of_a_batch_is_stored_when_one_of_its_events_was_stored_before(
    relay: Command, nats: Nats, db: Sql
) -> None:
    """I11: the stream refuses a batch with a repeat in it; then each event is published by itself, and none twice."""
    start = nats.last_sequence()
    insert(db, tasks=BATCH_FROM, events=BATCH_FROM)
    ((event_id, message),) = db.rows(b"SELECT event_id::text, message FROM outbox ORDER BY id OFFSET 7 LIMIT 1")
    nats.publish("tasks", message.encode(), event_id)
    with relay:
        wait_until(lambda: db.count_outbox() == 0)
        assert relay.metric('roots_tasks_relay_published_total{result="repeated"}') == 1
        assert relay.metric('roots_tasks_relay_published_total{result="stored"}') == BATCH_FROM - 1
    assert sorted(message["n"] for message in nats.messages(start)) == list(range(1, BATCH_FROM + 1))


def test_events_are_stored_one_by_one_when_the_stream_takes_no_batches(own_nats: Nats, db: Sql, tmp_path: Path) -> None:
    """I11: a stream that was provisioned before there were batches gets every event all the same."""
    own_nats.start()
    own_nats.provision()
    own_nats.forbid_batches()
    insert(db, tasks=BATCH_FROM, events=BATCH_FROM)
    with Command("relay", tmp_path, **relay_environment(own_nats, db.url)) as relay:
        wait_until(lambda: db.count_outbox() == 0)
        assert "batch_refused" in relay.log()
    assert [message["n"] for message in own_nats.messages(0)] == list(range(1, BATCH_FROM + 1))


@pytest.mark.parametrize("tasks", [3, 30])
def test_nothing_is_lost_when_nats_is_killed_and_returns(own_nats: Nats, db: Sql, tmp_path: Path, tasks: int) -> None:
    """I9, I11: while NATS is down the relay says so and keeps the events; afterwards each is stored once, in order."""
    own_nats.start()
    own_nats.provision()
    with Command("relay", tmp_path, **relay_environment(own_nats, db.url)) as relay:
        insert(db, tasks=tasks, events=30)
        wait_until(lambda: db.count_outbox() == 0)
        own_nats.kill()
        insert(db, tasks=tasks, events=30)
        wait_until(lambda: not relay.check("broker")[0])
        wait_until(lambda: relay.metric("roots_tasks_outbox_pending") == 30)
        wait_until(lambda: relay.metric("roots_tasks_outbox_oldest_seconds") > 0)
        own_nats.start()
        wait_until(lambda: db.count_outbox() == 0)
        wait_until(relay.is_ready)
    once = {task: [n for n in range(1, 31) if 1 + n % tasks == task] for task in range(1, tasks + 1)}
    assert numbers_by_task(own_nats.messages(0)) == {task: numbers * 2 for task, numbers in once.items()}


def test_batch_is_published_again_at_once_when_nats_died_before_it_answered(
    own_nats: Nats, db: Sql, tmp_path: Path
) -> None:
    """I9: acknowledgements that died with a connection are not waited for once there is another connection."""
    own_nats.start()
    own_nats.provision()
    with Command("relay", tmp_path, **relay_environment(own_nats, db.url)) as relay:
        wait_until(relay.is_ready)
        own_nats.freeze()
        insert(db, tasks=3, events=3)
        wait_until(lambda: db.rows(HAS_READ) == [(1,)])
        own_nats.kill()
        own_nats.start()
        wait_until(lambda: db.count_outbox() == 0)
        assert "TimeoutError" not in relay.log()
    assert [message["n"] for message in own_nats.messages(0)] == [1, 2, 3]


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


def test_relay_is_unready_until_the_stream_takes_events_when_one_was_refused(
    own_nats: Nats, db: Sql, tmp_path: Path
) -> None:
    """I11: a log that answers and takes no event makes the relay unready with the reason; nothing is lost."""
    own_nats.start()
    own_nats.provision()
    with Command("relay", tmp_path, **relay_environment(own_nats, db.url)) as relay:
        wait_until(relay.is_ready)
        own_nats.refuse_events()
        insert(db, tasks=3, events=3)
        wait_until(lambda: not relay.check("publish")[0])
        assert relay.check("publish")[1].startswith("no event was acknowledged for")
        assert relay.check("stream") == (True, "the stream takes events")
        own_nats.provision()
        wait_until(lambda: db.count_outbox() == 0)
        wait_until(relay.is_ready)
    assert sorted(message["n"] for message in own_nats.messages(0)) == [1, 2, 3]


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
    admin = db.another()
    with admin.connection, ExitStack() as running:
        with db.connection.transaction():
            # Before the relay begins: it would have published and deleted all otherwise.
            db.rows(b"SELECT 1 FROM outbox FOR UPDATE")
            running.enter_context(relay)
            wait_until(lambda: nats.last_sequence() == start + 2)
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
    db.rows(b"INSERT INTO outbox (path, ordering_key, message) VALUES ('tasks', 1, repeat('x', 70000))")
    db.rows(b"INSERT INTO outbox (path, ordering_key, message) VALUES ('no path', 2, 'x')")
    insert(db, tasks=3, events=9)
    with relay:
        wait_until(lambda: db.count_outbox() == 2 + 6)
        # Two more rounds of the loop: had it not been held back, it would have been refused again.
        insert(db, tasks=1, events=1)
        db.rows(b"INSERT INTO outbox (path, ordering_key, message) VALUES ('tasks', 4, '{\"task\": 4, \"n\": 1}')")
        wait_until(lambda: nats.last_sequence() == start + 4)
        assert relay.metric('roots_tasks_relay_published_total{result="refused"}') == 2
    assert numbers_by_task(nats.messages(start)) == {3: [2, 5, 8], 4: [1]}
    assert relay.log().count("publish_refused") == 2


def test_rest_of_a_batch_is_stored_when_one_of_its_events_is_refused(relay: Command, nats: Nats, db: Sql) -> None:
    """I2: an event that can't be stored keeps none of those back that would have been published with it."""
    start = nats.last_sequence()
    insert(db, tasks=BATCH_FROM, events=BATCH_FROM)
    db.rows(b"UPDATE outbox SET message = repeat('x', 70000) WHERE id = 7")
    with relay:
        wait_until(lambda: db.count_outbox() == 1)
        assert relay.metric('roots_tasks_relay_published_total{result="refused"}') == 1
    assert sorted(message["n"] for message in nats.messages(start)) == [*range(1, 7), *range(8, BATCH_FROM + 1)]


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


def test_batch_under_way_is_finished_when_the_relay_is_told_to_stop(own_nats: Nats, db: Sql, tmp_path: Path) -> None:
    """SIGTERM: what is published is deleted too, and the exit status is 0."""
    own_nats.start()
    own_nats.provision()
    command = Command("relay", tmp_path, **relay_environment(own_nats, db.url))
    with ThreadPoolExecutor(1) as pool, command as relay:
        wait_until(relay.is_ready)
        own_nats.freeze()
        insert(db, tasks=3, events=3)
        wait_until(lambda: db.rows(HAS_READ) == [(1,)])
        status = pool.submit(relay.stop)
        wait_until(lambda: "stopping" in relay.log())
        own_nats.thaw()
        assert status.result() == 0
    # All or, if the signal was quicker than the publish, none.
    assert (db.count_outbox(), own_nats.last_sequence()) in [(0, 3), (3, 0)]
