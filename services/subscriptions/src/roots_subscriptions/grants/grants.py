"""Grants, withdraws and revokes paths of clients. Every change is one compare-and-set of one client's record.

Clients change their own grants with their identity, which must be the one that their uid is bound to. Back ends bypass
the identity check (`identity` is None).
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from prometheus_client import Counter

from roots.auth.policy import Policy
from roots.contracts.grant_records import GrantRecord
from roots.contracts.identity import ANONYMOUS, Identity
from roots.contracts.subjects import is_path
from roots_subscriptions.errors import (
    BrokerUnavailableError,
    BucketFullError,
    RevokedSinceError,
    TooManyAnonymousError,
    TooManyClientsError,
)
from roots_subscriptions.grants.index import GrantIndex
from roots_subscriptions.grants.record import (
    NO_TERMS,
    Terms,
    announced,
    by_path,
    check_bound,
    connected,
    disconnected,
    ended,
    extended,
    is_announced,
    reapplied,
)
from roots_subscriptions.grants.revisions import Revision, mark_of, marks_about
from roots_subscriptions.grants.store import Change, GrantStore, Transform
from roots_subscriptions.metrics import Metrics

DEFAULT_MAX_ANONYMOUS = 100_000
# Each is a read and a write that is synced to disk.
WRITES_AT_ONCE = 64
# Between them the loop does other work.
GRANT_SETS_AT_ONCE = 200
# When many tokens end in the same second, connects and revocations come between.
ENDS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What a revocation has withdrawn. Shape: clients counts the uids, paths all of their paths."""

    clients: int
    paths: int


class Grants:
    """The grants of all clients, under the policy that `policy` returns. Its coroutines run on the broker's loop.

    Errors: BrokerUnavailableError from each of them.
    """

    def __init__(
        self,
        store: GrantStore,
        index: GrantIndex,
        policy: Callable[[], Policy],
        metrics: Metrics,
        max_anonymous: int = DEFAULT_MAX_ANONYMOUS,
    ) -> None:
        self._store = store
        self._index = index
        self._policy = policy
        self._metrics = metrics
        self._max_anonymous = max_anonymous

    async def read(self, uid: str) -> GrantRecord | None:
        """Return the record of `uid`, None when it has none."""
        return await self._store.read(uid)

    async def revision(self) -> Revision:
        """Return the present, for a back end that begins to decide."""
        state = await self._store.bucket.state()
        return Revision(state.epoch, state.last)

    async def connect(
        self, uid: str, paths: Collection[str], *, by: str, identity: Identity | None, terms: Terms = NO_TERMS
    ) -> Change:
        """Grant to `uid` those of `paths` that the policy allows, from the present on, and confirm what it holds.

        What the policy allows and the change's `after` has no room for is over the bound of one client.

        With the revision of `terms` the paths are pending first, so that a revocation finds the record. Then whatever
        it does to the record makes this write fail, and the next try sees its marker: ADR 0018.

        Shape: by is `apps.NAME`, or `backends.NAME` with no `identity`.
        Errors: ForeignClientError, TooManyClientsError, TooManyAnonymousError, RevokedSinceError.
        """
        # Before the record is written, so that no event after the answer to the client is older than its grant.
        head = await self._store.events_head()
        policy = self._policy()
        is_pending = False

        async def change(record: GrantRecord | None) -> GrantRecord | None:
            nonlocal policy, is_pending
            policy = self._policy()
            is_pending = False
            allowed = [path for path in paths if policy.allows(by, path, identity or ANONYMOUS)]
            if not allowed:
                return record
            if identity is not None:
                self._check_clients(uid, record, identity, policy)
            if terms.revision is not None:
                await self._check_revision(uid, record, allowed, terms.subject, terms.revision)
                is_pending = not is_announced(record, allowed, terms.subject)
            if is_pending:
                record = record or await self._store.create()
                return announced(record, allowed, by=by, subject=terms.subject, now=time.time())
            return connected(
                record or await self._store.create(),
                allowed,
                by=by,
                identity=None if identity is None else policy.relevant(identity),
                allows=policy.allows,
                head=head,
                now=time.time(),
                terms=terms,
            )

        done = await self._change(uid, change)
        while is_pending:
            done = await self._change(uid, change)
        if self._policy() is not policy:
            # The policy has changed while the record was written, perhaps after this client's turn in reapply_policy.
            await self.reapply_policy_to(uid)
        return done

    async def disconnect(self, uid: str, paths: Collection[str], *, identity: Identity | None) -> Change:
        """Withdraw those of `paths` that `uid` holds. Errors: ForeignClientError."""

        async def change(record: GrantRecord | None) -> GrantRecord | None:
            if record is None:
                return None
            if identity is not None:
                check_bound(record, identity.subject)
            return disconnected(record, paths)

        return await self._change(uid, change, removes_unreadable=True)

    async def revoke(
        self,
        *,
        uid: str | None = None,
        subject: str | None = None,
        path: str | None = None,
        may_revoke: Callable[[str], bool] = is_path,
    ) -> Revoked:
        """Withdraw `path`, or every path when it is None, from whom `uid` or `subject` names, or from everyone.

        Paths that `may_revoke` does not let through stay.

        What was granted before the call is found, whichever replica granted it. It is not forbidden: a token that is
        still good, or a policy that still allows the path, grants it again. What a back end began to decide before the
        call is not granted any more.

        Errors: ValueError when nothing is named.
        """
        if uid is None and subject is None and path is None:
            raise ValueError("it names neither a uid, nor a subject, nor a path")
        unmarked: BucketFullError | None = None
        try:
            await self._store.mark(mark_of(uid=uid, subject=subject, path=path))
        except BucketFullError as error:
            # What is granted is withdrawn nevertheless.
            unmarked = error
        if uid is not None:
            uids = [uid]
        else:
            await self._index.catch_up()
            uids = self._index.find(subject=subject, path=path)

        async def change(record: GrantRecord | None) -> GrantRecord | None:
            if record is None or subject not in (None, record.subject):
                return record
            named = by_path(record) if path is None else [path]
            return disconnected(record, [held for held in named if may_revoke(held)])

        revoked = await self._change_each(uids, change, self._metrics.revoked, removes_unreadable=uid is not None)
        if unmarked is not None:
            raise unmarked
        return revoked

    async def reapply_policy_to(self, uid: str) -> Change:
        """Withdraw from `uid` what the policy allows it no more."""
        return await self._change(uid, self._reapplied)

    async def reapply_policy(self) -> Revoked:
        """Withdraw from every client what the policy allows it no more."""
        await self._index.catch_up()
        policy = self._policy()
        uids: list[str] = []
        for count, grant_set in enumerate(self._index.grant_sets(), start=1):
            if not all(policy.allows(by, path, grant_set.identity) for path, by in grant_set.paths.items()):
                uids += grant_set.uids
            if count % GRANT_SETS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return await self._change_each(uids, self._reapplied, self._metrics.revoked)

    async def withdraw_expired(self, now: float) -> Revoked:
        """Withdraw from up to ENDS_AT_ONCE clients the paths whose own end has come at `now` (unix seconds).

        A record is read again before: what a renewed token has extended meanwhile stays.
        """
        due = self._index.expiry_schedule.take(now, ENDS_AT_ONCE)

        async def change(record: GrantRecord | None) -> GrantRecord | None:
            return None if record is None else ended(record, now=now)

        try:
            return await self._change_each(due, change, self._metrics.ended)
        except BaseException:
            # Also when it is cancelled, since a new connection to NATS goes on with the same index.
            self._index.expiry_schedule.put_back(due)
            raise

    async def renew(self, uid: str) -> Change:
        """Let the record of `uid` live on when less than half of its time is left: each write costs a sync to disk."""

        async def change(record: GrantRecord | None) -> GrantRecord | None:
            now = time.time()
            return extended(record, now=now) if record is not None and record.is_half_over(now) else record

        return await self._change(uid, change)

    async def _change(self, uid: str, change: Transform, *, removes_unreadable: bool = False) -> Change:
        """Store what `change` makes of the record of `uid`; the index knows it before anything else runs."""
        done = await self._store.change(uid, change, removes_unreadable=removes_unreadable)
        if done.after is not None and done.seq:
            self._index.note(uid, done.after, done.seq)
        return done

    async def _reapplied(self, record: GrantRecord | None) -> GrantRecord | None:
        return None if record is None else reapplied(record, self._policy().allows)

    async def _change_each(
        self, uids: Collection[str], change: Transform, counter: Counter, *, removes_unreadable: bool = False
    ) -> Revoked:
        """Apply `change` to many records, some at a time; one that fails does not keep the others from it.

        `counter` counts the paths that are withdrawn.

        Errors: BrokerUnavailableError, and then only some of them are changed; doing it again does the rest.
        """
        # In an order of this replica's own: when all replicas do the same work, each finds much of it done.
        waiting = random.sample(list(uids), len(uids))
        withdrawn: list[int] = []
        failures: list[BrokerUnavailableError] = []

        async def work() -> None:
            # With NATS away every further one would only wait for it, too.
            while waiting and len(failures) < WRITES_AT_ONCE:
                try:
                    done = await self._change(waiting.pop(), change, removes_unreadable=removes_unreadable)
                except BrokerUnavailableError as error:
                    failures.append(error)
                else:
                    withdrawn.append(_count(done.before) - _count(done.after))

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(WRITES_AT_ONCE, len(uids))):
                workers.create_task(work())
        counter.inc(sum(withdrawn))
        if failures:
            raise failures[0]
        return Revoked(clients=sum(count > 0 for count in withdrawn), paths=sum(withdrawn))

    async def _check_revision(
        self, uid: str, record: GrantRecord | None, paths: Collection[str], subject: str | None, revision: Revision
    ) -> None:
        """Return when no revocation that concerns the grant came after `revision`. Errors: RevokedSinceError."""
        await self._index.catch_up()
        subjects = [name for name in (subject, None if record is None else record.subject) if name is not None]
        if self._index.is_marked_since(revision, marks_about(uid, subjects, paths)):
            raise RevokedSinceError

    def _check_clients(self, uid: str, record: GrantRecord | None, identity: Identity, policy: Policy) -> None:
        """Check the limits of clients of a subject, and of anonymous clients.

        The newest clients of other replicas may be missed for a second.
        """
        # The index counts none until it is loaded. The bound guards memory: a moment without it does no harm.
        if record is None and identity.subject is None and self._index.anonymous_count >= self._max_anonymous:
            raise TooManyAnonymousError(self._max_anonymous)
        is_bound = record is not None and record.subject is not None
        if identity.subject is None or policy.tokens is None or is_bound:
            return
        if not self._index.is_loaded:
            raise BrokerUnavailableError("the grants are not read yet")
        if self._index.count_others(identity.subject, uid) >= policy.tokens.max_clients:
            raise TooManyClientsError(policy.tokens.max_clients)


def _count(record: GrantRecord | None) -> int:
    return 0 if record is None else len(record.paths)
