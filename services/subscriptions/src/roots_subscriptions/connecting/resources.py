"""HTTP: `POST /{app}/connect/{uid}` and `POST /{app}/disconnect/{uid}`, translated to the grants and back.

The order of the checks is part of the contract: the app, who asks, the uid, the body, the policy. Source:
docs/protocol.md, Connecting.
"""

import falcon

from roots.auth.authentication import Authenticator
from roots.auth.policy import APPS, Policy
from roots.auth.policy_watch import PolicyRefused, PolicyWatch
from roots.contracts.grant_records import MAX_PATHS, MAX_PATHS_BYTES, GrantRecord
from roots.contracts.identity import Identity
from roots.contracts.subjects import InvalidPathError, check_path
from roots.contracts.uids import Uids
from roots.http.web import Problem, read_json
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.errors import ForeignClientError, TooManyAnonymousError, TooManyClientsError
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.grants.refusals import Refusals
from roots_subscriptions.metrics import Metrics

ANONYMOUS_RETRY_SECONDS = 30
FOREIGN_CLIENT = "This uid belongs to another identity; begin again with a first poll."


class Connecting:
    """Grants to a client the paths that the policy allows, and withdraws those that it wants no more."""

    def __init__(
        self,
        policy: PolicyWatch[Policy],
        authenticator: Authenticator,
        uids: Uids,
        broker: BrokerThread,
        grants: Grants,
        refusals: Refusals,
        metrics: Metrics,
    ) -> None:
        self._policy = policy
        self._authenticator = authenticator
        self._uids = uids
        self._broker = broker
        self._grants = grants
        self._refusals = refusals
        self._metrics = metrics

    def on_post_connect(self, req: falcon.Request, resp: falcon.Response, app: str, uid: str) -> None:
        """Answer 200 with `connected` and `refused`; when all are refused 403, or 422 at the limit of the client."""
        policy, identity = self._admit(req, app, uid)
        paths = read_paths(req)
        decisions = {path: policy.decide(app, path, identity) for path in paths}
        for path, decision in decisions.items():
            if not decision.is_allowed:
                self._refusals.note(uid, app, path, decision)
        allowed = [path for path, decision in decisions.items() if decision.is_allowed]
        record = self._grant(app, uid, allowed, identity) if allowed else None
        connected = [path for path in paths if record is not None and path in record.paths]
        refused = [
            {"path": path, "reason": "limit" if decision.is_allowed and not _has_room(record, path) else "policy"}
            for path, decision in decisions.items()
            if path not in connected
        ]
        self._metrics.connects.labels("refused").inc(len(refused))
        if connected:
            resp.media = {"connected": connected, "refused": refused}
        elif record is not None and any(refusal["reason"] == "limit" for refusal in refused):
            detail = (
                f"A client receives at most {MAX_PATHS} paths; this one has {len(record.paths)}, and none of these. "
                f"Together they have at most {MAX_PATHS_BYTES} bytes."
            )
            raise Problem(422, detail, field="body", refused=refused)
        else:
            raise Problem(403, "The policy allows this client none of these paths.", refused=refused)

    def on_post_disconnect(self, req: falcon.Request, resp: falcon.Response, app: str, uid: str) -> None:
        """Answer 200 with `disconnected`: every path of the request; one that is not held is gone already."""
        _, identity = self._admit(req, app, uid)
        paths = read_paths(req)
        try:
            change = self._broker.call(self._grants.disconnect(uid, paths, identity=identity))
        except ForeignClientError as error:
            raise Problem(403, FOREIGN_CLIENT, reason="identity") from error
        held = change.before.paths if change.before is not None else {}
        withdrawn = sum(path in held for path in paths)
        self._metrics.disconnects.labels("withdrawn").inc(withdrawn)
        self._metrics.disconnects.labels("absent").inc(len(paths) - withdrawn)
        resp.media = {"disconnected": paths}

    def _admit(self, req: falcon.Request, app: str, uid: str) -> tuple[Policy, Identity]:
        """Return the policy in force and who asks.

        Errors: Problem 404 for the app (503 while the policy is refused), as `Authenticator.authenticate`, 410 for the
            uid.
        """
        policy = self._policy.current
        if app not in policy.apps and self._policy.is_refused:
            raise PolicyRefused
        if app not in policy.apps:
            raise Problem(404, "The policy has no such app.")
        identity = self._authenticator.authenticate(req)
        if not self._uids.is_valid(uid):
            raise Problem(410, "This uid was not issued here or has expired; begin again with a first poll.")
        return policy, identity

    def _grant(self, app: str, uid: str, paths: list[str], identity: Identity) -> GrantRecord | None:
        """Grant `paths`, and return what is granted now: the policy may have changed meanwhile."""
        try:
            change = self._broker.call(self._grants.connect(uid, paths, by=f"{APPS}.{app}", identity=identity))
        except ForeignClientError as error:
            raise Problem(403, FOREIGN_CLIENT, reason="identity") from error
        except TooManyAnonymousError as error:
            detail = (
                f"At most {error.limit} clients without a token are connected at a time; "
                "those that are closed count for an hour."
            )
            raise Problem(503, detail, reason="anonymous", retry_after_seconds=ANONYMOUS_RETRY_SECONDS) from error
        except TooManyClientsError as error:
            detail = f"A subject has at most {error.limit} clients at a time; those that are closed count for an hour."
            raise Problem(429, detail) from error
        before = change.before.paths.keys() if change.before is not None else set()
        connected = set(paths) & (change.after.paths.keys() if change.after is not None else set())
        self._metrics.connects.labels("confirmed").inc(len(connected & before))
        self._metrics.connects.labels("granted").inc(len(connected - before))
        return change.after


def _has_room(record: GrantRecord | None, path: str) -> bool:
    return record is None or record.has_room_for(path)


def read_paths(req: falcon.Request) -> list[str]:
    """Return the paths of the body, each once.

    Errors: Problem 400, 413 as `read_json`; 422 with the index at fault when it is not an array of 1-128 paths.
    """
    paths: dict[str, None] = {}
    for index, value in enumerate(read_json(req, list[str])):
        try:
            paths[check_path(value)] = None
        except InvalidPathError as error:
            raise Problem(422, f"Not a path: {error}.", field=f"[{index}]") from error
    if not 1 <= len(paths) <= MAX_PATHS:
        raise Problem(422, f"The array has 1-{MAX_PATHS} different paths, not {len(paths)}.", field="body")
    return list(paths)
