"""HTTP: `POST /{app}/connect/{uid}` and `POST /{app}/disconnect/{uid}`, translated to the grants and back.

The order of the checks is part of the contract: the app, the uid, the body, the policy. Source: docs/protocol.md.
"""

import falcon

from roots_common.subjects import InvalidPathError, check_path
from roots_common.uids import Uids
from roots_common.web import Problem, read_json
from roots_subscriptions.broker_thread import BrokerThread
from roots_subscriptions.errors import TooManyPathsError
from roots_subscriptions.grants import GrantStore
from roots_subscriptions.metrics import Metrics
from roots_subscriptions.policy import AppPolicy, Policy
from roots_subscriptions.record import MAX_PATHS


class Admission:
    """Lets a request in when its app is in the policy and its uid is one of this system's."""

    def __init__(self, policy: Policy, uids: Uids) -> None:
        self._policy = policy
        self._uids = uids

    def admit(self, app: str, uid: str) -> AppPolicy:
        """Return the rules of `app`. Errors: Problem 404 for the app, 410 for the uid."""
        rules = self._policy.apps.get(app)
        if rules is None:
            raise Problem(404, "The policy has no such app.")
        if not self._uids.is_valid(uid):
            raise Problem(410, "This uid was not issued here or has expired; begin again with a first poll.")
        return rules


class Connect:
    """Grants the paths that the policy allows, and says which it refuses."""

    def __init__(self, admission: Admission, broker: BrokerThread, store: GrantStore, metrics: Metrics) -> None:
        self._admission = admission
        self._broker = broker
        self._store = store
        self._metrics = metrics

    def on_post(self, req: falcon.Request, resp: falcon.Response, app: str, uid: str) -> None:
        """Answer 200 with `connected` and `refused`, or 403 when every path is refused."""
        rules = self._admission.admit(app, uid)
        paths = read_paths(req)
        allowed = [path for path in paths if rules.allows(path)]
        refused = [{"path": path, "reason": "policy"} for path in paths if path not in allowed]
        self._metrics.connects.labels("refused").inc(len(refused))
        if not allowed:
            raise Problem(403, "The policy lets this client hear none of these paths.", refused=refused)
        self._grant(uid, allowed)
        resp.media = {"connected": allowed, "refused": refused}

    def _grant(self, uid: str, paths: list[str]) -> None:
        try:
            change = self._broker.call(self._store.connect(uid, paths))
        except TooManyPathsError as error:
            detail = (
                f"A client hears at most {MAX_PATHS} paths; this one has {error.held} and asks for {error.added} more."
            )
            raise Problem(422, detail, field="body") from error
        held = change.before.paths if change.before is not None else {}
        confirmed = sum(path in held for path in paths)
        self._metrics.connects.labels("confirmed").inc(confirmed)
        self._metrics.connects.labels("granted").inc(len(paths) - confirmed)


class Disconnect:
    """Withdraws paths; one that is not held is gone already, which is all that the client wants."""

    def __init__(self, admission: Admission, broker: BrokerThread, store: GrantStore, metrics: Metrics) -> None:
        self._admission = admission
        self._broker = broker
        self._store = store
        self._metrics = metrics

    def on_post(self, req: falcon.Request, resp: falcon.Response, app: str, uid: str) -> None:
        """Answer 200 with `disconnected`: every path of the request."""
        self._admission.admit(app, uid)
        paths = read_paths(req)
        change = self._broker.call(self._store.disconnect(uid, paths))
        held = change.before.paths if change.before is not None else {}
        withdrawn = sum(path in held for path in paths)
        self._metrics.disconnects.labels("withdrawn").inc(withdrawn)
        self._metrics.disconnects.labels("absent").inc(len(paths) - withdrawn)
        resp.media = {"disconnected": paths}


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
