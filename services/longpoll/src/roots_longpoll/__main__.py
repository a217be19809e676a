"""`python -m roots_longpoll`: run one replica until SIGTERM."""

import gc
import sys

import uvloop

from roots.runtime import descriptors, logs
from roots.runtime.config import load_or_exit, take_no_arguments
from roots.runtime.lifecycle import stop_event
from roots.tracing.tracing import Tracing, open_tracing
from roots_longpoll.config import Config
from roots_longpoll.replica import Replica

log = logs.get(__name__)


async def _run(config: Config, tracing: Tracing) -> None:
    stopped = stop_event()
    await Replica(config, tracing).run(stopped)


def main() -> None:
    """Run with the environment's configuration; exit 1 when a port can't be bound."""
    take_no_arguments("roots_longpoll", "Run one replica of longpoll, which holds polls, until SIGTERM.")
    config = load_or_exit(Config)
    logs.configure("longpoll", config.log_level)
    tracing = open_tracing("longpoll")
    # Objects here live as long as a poll is held, and few are in cycles: looking for those after 700 new ones is waste.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    descriptors.raise_limit()
    try:
        uvloop.run(_run(config, tracing))
    except OSError as error:
        log.error("start_failed", detail=str(error))  # noqa: TRY400  # one sentence; the trace says nothing more
        sys.exit(1)
    finally:
        tracing.stop()


if __name__ == "__main__":
    main()
