"""The latest refusals of clients, in the memory of this process, so that the back-end API can explain them.

Nothing of a refusal is stored: a client without grants leaves no record. The replicas together know what each of
them has refused; each answers requests on `roots.clients.refused`, which are a uid, with a JSON array of `Refusal`.
"""

import threading
import time
from collections import OrderedDict

import msgspec
from nats.aio.client import Client

from roots.auth.policy import Decision
from roots.contracts.subjects import CLIENTS_REFUSED
from roots.nats.replies import answer_requests

# Of each client the latest paths; of all clients the latest ones. Together some 20 MB at most.
MAX_PATHS = 16
MAX_CLIENTS = 4096


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One refusal. Shape: rule and reason as in `Decision`. Units: at is unix seconds."""

    app: str
    path: str
    rule: str | None
    reason: str
    at: int


class Refusals:
    """The latest refusals by uid. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: OrderedDict[str, OrderedDict[tuple[str, str], Refusal]] = OrderedDict()

    def note(self, uid: str, app: str, path: str, decision: Decision) -> None:
        """Keep that `uid` was refused `path` of `app`."""
        refusal = Refusal(app=app, path=path, rule=decision.rule, reason=decision.reason, at=int(time.time()))
        with self._lock:
            paths = self._clients.setdefault(uid, OrderedDict())
            paths[app, path] = refusal
            paths.move_to_end((app, path))
            self._clients.move_to_end(uid)
            if len(paths) > MAX_PATHS:
                paths.popitem(last=False)
            if len(self._clients) > MAX_CLIENTS:
                self._clients.popitem(last=False)

    def of(self, uid: str) -> list[Refusal]:
        """Return what `uid` was refused, the latest last."""
        with self._lock:
            return list(self._clients.get(uid, {}).values())


async def answer_refusals(client: Client, refusals: Refusals) -> None:
    """Answer from now on, for as long as `client` is open. Errors: nats.errors.Error."""

    async def reply_to(data: bytes) -> list[Refusal]:
        return refusals.of(data.decode("latin-1"))

    await answer_requests(client, CLIENTS_REFUSED, reply_to)
