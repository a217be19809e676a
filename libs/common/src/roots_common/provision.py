"""Creates the stream and the bucket that the services use, or brings their limits up to date.

Run as `python -m roots_common.provision` with the only NATS user that may create them; running it again changes
nothing. Services wait, unready, until both exist.
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated

import msgspec
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RePublish, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from roots_common import broker, logs, subjects
from roots_common.config import LogLevel, load_or_exit, setting

DEADLINE_SECONDS = 60
# A relay that was away for less than this can repeat a publish without a second event.
DEDUP_SECONDS = 3600.0

log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionConfig(broker.BrokerConfig):
    """Limits of the event stream. Units: seconds and bytes in the names."""

    user: str = setting("ROOTS_NATS_USER", default="provision")
    event_age_seconds: Annotated[int, msgspec.Meta(ge=1)] = setting("ROOTS_EVENTS_MAX_AGE_SECONDS", default=86_400)
    event_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = setting("ROOTS_EVENTS_MAX_BYTES", default=4 << 30)
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
        republish=RePublish(src=f"{subjects.EVENTS_PREFIX}>", dest=f"{subjects.LIVE_EVENTS_PREFIX}>"),
    )


def grants_stream(config: ProvisionConfig) -> StreamConfig:
    """Return the stream behind the bucket `roots-grants`: the last record of each uid, ended by its own TTL."""
    return StreamConfig(
        name=subjects.GRANTS_STREAM,
        subjects=[f"{subjects.GRANTS_PREFIX}>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        num_replicas=config.replicas,
        allow_direct=True,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_msg_ttl=True,
        republish=RePublish(src=f"{subjects.GRANTS_PREFIX}>", dest=f"{subjects.LIVE_GRANTS_PREFIX}>"),
    )


async def provision(config: ProvisionConfig) -> None:
    """Create or update both streams. Errors: TimeoutError when NATS isn't there within a minute."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        client = await broker.connect(config)
        try:
            js = client.jetstream()
            for stream in (events_stream(config), grants_stream(config)):
                await _ensure(js, stream)
        finally:
            await client.close()


async def _ensure(js: JetStreamContext, wanted: StreamConfig) -> None:
    # A cluster that is still electing its leader answers with a server error, or not at all.
    while True:
        try:
            try:
                await js.stream_info(str(wanted.name))
            except NotFoundError:
                await js.add_stream(wanted)
                log.info("stream_created", stream=wanted.name)
            else:
                await js.update_stream(wanted)
                log.info("stream_updated", stream=wanted.name)
        except (TimeoutError, APIError) as error:
            log.warning("stream_not_ready", stream=wanted.name, detail=str(error))
            await asyncio.sleep(broker.RECONNECT_WAIT_SECONDS)
        else:
            return


def main() -> None:
    """Provision with the environment's configuration."""
    config = load_or_exit(ProvisionConfig)
    logs.configure("provision", config.log_level)
    asyncio.run(provision(config))


if __name__ == "__main__":
    main()
