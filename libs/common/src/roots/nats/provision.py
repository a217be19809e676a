"""Creates the stream and the bucket that the services use, or brings their limits up to date.

Run as `python -m roots.nats.provision` with the only NATS user that may create them; running it again changes
nothing, also while one server of a cluster is down. More replicas than there were are added. Services wait, unready,
until both exist.
"""

import asyncio
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import msgspec
import nats
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RePublish, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from roots.contracts import subjects
from roots.nats import broker
from roots.runtime import logs
from roots.runtime.config import LogLevel, load_or_exit, setting, take_no_arguments

DEADLINE_SECONDS = 60.0
# A request that reaches a cluster without a leader is never answered; the next one may be.
REQUEST_SECONDS = 2.0
CATCH_UP_SECONDS = 3.0
EXIT_FAILURE = 1
# A relay that was away for less than this can repeat a publish without a second event.
DEDUP_SECONDS = 3600.0

log = logs.get(__name__)


class ProvisionError(Exception):
    """A stream is not as it should be; the message says what was in the way at last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionConfig(broker.BrokerConfig):
    """Limits of the event stream and of the bucket. Units: seconds and bytes in the names."""

    user: str = setting("ROOTS_NATS_USER", default="provision")
    event_age_seconds: Annotated[int, msgspec.Meta(ge=1)] = setting("ROOTS_EVENTS_MAX_AGE_SECONDS", default=86_400)
    event_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = setting("ROOTS_EVENTS_MAX_BYTES", default=4 << 30)
    grant_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = setting("ROOTS_GRANTS_MAX_BYTES", default=128 << 20)
    replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = setting("ROOTS_NATS_REPLICAS", default=1)
    log_level: LogLevel = setting("ROOTS_LOG_LEVEL", default="info")


def events_stream(config: ProvisionConfig) -> StreamConfig:
    """Return the stream that keeps every event for a while and republishes it to the replicas as it is stored."""
    return StreamConfig(
        name=subjects.EVENTS_STREAM,
        subjects=[f"{subjects.EVENTS_PREFIX}>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=config.event_age_seconds,
        max_bytes=config.event_bytes,
        duplicate_window=min(DEDUP_SECONDS, config.event_age_seconds),
        num_replicas=config.replicas,
        allow_direct=True,
        # The relay's batches: one sync to disk for all of a batch.
        allow_atomic=True,
        republish=RePublish(src=f"{subjects.EVENTS_PREFIX}>", dest=f"{subjects.LIVE_EVENTS_PREFIX}>"),
    )


def grants_stream(config: ProvisionConfig) -> StreamConfig:
    """Return the stream behind the bucket `roots-grants`: the last record of each uid, ended by its own TTL."""
    return StreamConfig(
        name=subjects.GRANTS_STREAM,
        subjects=[f"{subjects.GRANTS_PREFIX}>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        # Full, it refuses new clients; those that it has stay, and can be changed.
        discard=DiscardPolicy.NEW,
        max_bytes=config.grant_bytes,
        max_msgs_per_subject=1,
        num_replicas=config.replicas,
        allow_direct=True,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_msg_ttl=True,
        republish=RePublish(src=f"{subjects.GRANTS_PREFIX}>", dest=f"{subjects.LIVE_GRANTS_PREFIX}>"),
    )


async def provision(config: ProvisionConfig, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
    """Create or update both streams, and return once their replicas are up to date; a majority, when a server is down.

    Errors: ProvisionError when that isn't so within `deadline_seconds`.
    """
    obstacle: str | None = "NATS can't be reached"
    try:
        async with asyncio.timeout(deadline_seconds):
            client = await broker.connect(config)
            try:
                js = client.jetstream(timeout=REQUEST_SECONDS)
                streams = [events_stream(config), grants_stream(config)]
                steps = [*(partial(_apply, js, stream) for stream in streams), partial(_await_replicas, js, streams)]
                for step in steps:
                    while (obstacle := await _obstacle_to(step())) is not None:
                        log.warning("stream_not_ready", detail=obstacle)
                        await asyncio.sleep(broker.RECONNECT_WAIT_SECONDS)
            finally:
                await client.close()
    except TimeoutError as error:
        raise ProvisionError(f"not done after {deadline_seconds:.0f} s: {obstacle}") from error


async def _obstacle_to(step: Coroutine[None, None, None]) -> str | None:
    # A cluster that is still electing its leader answers with a server error, or not at all.
    try:
        await step
    except (TimeoutError, nats.errors.Error, ProvisionError) as error:
        return str(error)
    return None


async def _apply(js: JetStreamContext, wanted: StreamConfig) -> None:
    try:
        await js.stream_info(str(wanted.name))
    except NotFoundError:
        await js.add_stream(wanted)
        log.info("stream_created", stream=wanted.name)
    else:
        await js.update_stream(wanted)
        log.info("stream_updated", stream=wanted.name)


async def _await_replicas(js: JetStreamContext, streams: list[StreamConfig]) -> None:
    # A replica that was just added can't vote before it has caught up: until then the loss of the leader would stop the
    # stream for good. One whose server is down looks the same, so after a while a majority is enough.
    replicas = min(stream.num_replicas or 1 for stream in streams)
    patient_until = time.monotonic() + CATCH_UP_SECONDS
    while (current := min([await _current_replicas(js, str(stream.name)) for stream in streams])) < replicas:
        if time.monotonic() > patient_until:
            if current <= replicas // 2:
                raise ProvisionError(f"{current} of {replicas} replicas are up to date")
            log.warning("replica_missing", current=current, replicas=replicas)
            return
        await asyncio.sleep(broker.RECONNECT_WAIT_SECONDS)


async def _current_replicas(js: JetStreamContext, stream: str) -> int:
    cluster = (await js.stream_info(stream)).cluster
    followers = [] if cluster is None else cluster.replicas or []
    return 1 + sum(follower.current is True for follower in followers)


def main() -> None:
    """Provision with the environment's configuration."""
    take_no_arguments("roots.nats.provision", "Create the streams of NATS, or bring their limits up to date.")
    config = load_or_exit(ProvisionConfig)
    logs.configure("provision", config.log_level)
    try:
        asyncio.run(provision(config))
    except ProvisionError as error:
        log.error("provision_failed", detail=str(error))  # noqa: TRY400  # the detail says it all
        sys.exit(EXIT_FAILURE)


if __name__ == "__main__":
    main()
