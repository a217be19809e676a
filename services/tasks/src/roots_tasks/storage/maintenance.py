"""What the relay prunes beside its work: idempotency keys that have been kept for a day."""

from roots.runtime import logs
from roots_outbox.postgres import Execute

PRUNE_SECONDS = 600.0
PRUNE_LIMIT = 500
# Between two deletes, so that a day's keys do not go in one burst of writes.
PRUNE_PAUSE_SECONDS = 0.05

log = logs.get(__name__)

# prune: some of the idempotency keys that have been kept for a day; those that somebody has locked stay.
_PRUNE = b"""
DELETE FROM idempotency_key WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM idempotency_key WHERE created_at < now() - interval '24 hours'
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
"""


async def prune_keys(execute: Execute) -> float:
    """Delete up to PRUNE_LIMIT expired idempotency keys, and return after how many seconds to go on. It is a Job."""
    pruned = (await execute(_PRUNE, limit=PRUNE_LIMIT)).rowcount
    log.info("idempotency_keys_pruned", count=pruned)
    return PRUNE_PAUSE_SECONDS if pruned == PRUNE_LIMIT else PRUNE_SECONDS
