"""`POST /` as the server of 2009 answered it, so that its client, Cornelius, works unmodified.

A body is `[{"path": …, "message": …}]`, obeyed in its order; on the path `::connect` or `::disconnect` the message
`uid->path` is a command. The answer is `{success:true}` or `{error:true}`, which is no JSON, as text/html. As in 2009
an item without a path or a message is passed over, and so is a command for a client that has gone: it begins again by
itself. Unlike in 2009 a body with a fault is refused as a whole, and a failure that 2009 did not know (no right, too
fast, no broker) has a status that says so, with the same answer. A path that its client has no room for is left out:
the rest is obeyed, and the answer is `{error:true}`. Source: docs/protocol.md.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import falcon

from roots.auth.policy import BACKENDS
from roots.contracts.events import MAX_BATCH_BYTES
from roots.contracts.grant_records import MAX_PATHS, MAX_PATHS_BYTES
from roots.contracts.subjects import is_path
from roots.contracts.uids import Uids
from roots.http.web import Problem, read_json
from roots.tracing.traceparent import traceparent_of
from roots_subscriptions.backend_api.authorization import RETRY_AFTER_SECONDS, BackendAuthorizer, BackendRequest
from roots_subscriptions.backend_api.messages import Message, check_count, check_messages
from roots_subscriptions.backend_api.resources import Publishing
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.grants import Grants

CONNECT = "::connect"
DISCONNECT = "::disconnect"
SUCCESS = "{success:true}"
ERROR = "{error:true}"
# What the server of 2009 answered when it could not read a body.
_STATUS_OF_A_FAULT = 200
_FAULTS = {400, 413, 422}
_ARROW = "->"


@dataclass(frozen=True, slots=True)
class Command:
    """Connects a client to a path, or disconnects it; `name` is CONNECT or DISCONNECT."""

    name: str
    uid: str
    path: str


Step = Message | Command


class Tutorial:
    """`POST /`."""

    def __init__(
        self, authorizer: BackendAuthorizer, publishing: Publishing, broker: BrokerThread, grants: Grants, uids: Uids
    ) -> None:
        self._authorizer = authorizer
        self._publishing = publishing
        self._broker = broker
        self._grants = grants
        self._uids = uids

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer SUCCESS when every item was obeyed, else ERROR."""
        resp.content_type = falcon.MEDIA_HTML
        try:
            with self._authorizer.admit(req, "tutorial", is_key_needed=False) as request:
                self._obey(req, request)
            resp.text = SUCCESS
        except Problem as problem:
            resp.status = _STATUS_OF_A_FAULT if problem.status_code in _FAULTS else problem.status
            resp.set_headers(problem.headers or {})
            resp.text = ERROR
        except BrokerUnavailableError:
            resp.status = 503
            resp.set_header("Retry-After", str(RETRY_AFTER_SECONDS))
            resp.text = ERROR

    def _obey(self, req: falcon.Request, request: BackendRequest) -> None:
        items = read_json(req, list[dict[str, Any]], max_bytes=MAX_BATCH_BYTES)
        check_count(items, least=0)
        steps = read_steps(items)
        self._check_rights(request, steps)
        self._authorizer.charge(request, max(0, len(steps) - 1))
        left_out: list[str] = []
        for kind, group in itertools.groupby(steps, key=_kind_of):
            if kind is None:
                messages = [step for step in group if isinstance(step, Message)]
                results = self._publishing.publish(request, messages, traceparent_of(req))
                if not all(result.outcome.is_kept for result in results):
                    raise BrokerUnavailableError("not every message is stored")
            else:
                left_out += self._command(request, kind[0], kind[1], [step.path for step in group])
        if left_out:
            # Only now: what else the body asks for would never be done, however often it is sent again.
            raise Problem(422, f"A client receives at most {MAX_PATHS} paths, of {MAX_PATHS_BYTES} bytes together.")

    def _check_rights(self, request: BackendRequest, steps: Sequence[Step]) -> None:
        self._publishing.check_rights(request, [step for step in steps if isinstance(step, Message)])
        refused = [
            step.path for step in steps if isinstance(step, Command) and not request.backend.may_grant(step.path)
        ]
        if refused:
            request.results += [(path, "forbidden") for path in refused]
            raise Problem(403, "This back end may not grant these paths.")

    def _command(self, request: BackendRequest, name: str, uid: str, paths: list[str]) -> list[str]:
        """Connect or disconnect one client, and return the paths that it has no room for.

        Errors: BrokerUnavailableError; Problem 403 when the policy has changed since its rights were looked at.
        """
        if not self._uids.is_valid(uid):
            request.results += [(path, "client-gone") for path in paths]
            return []
        different = list(dict.fromkeys(paths))
        if name == DISCONNECT:
            self._broker.call(self._grants.disconnect(uid, different, identity=None))
            request.results += [(path, "disconnected") for path in paths]
            return []
        by = f"{BACKENDS}.{request.backend.name}"
        record = self._broker.call(self._grants.connect(uid, different, by=by, identity=None)).after
        left_out = [path for path in different if record is None or path not in record.paths]
        if left_out and (record is None or any(map(record.has_room_for, left_out))):
            raise Problem(403, "This back end may not grant these paths any more.")
        request.results += [(path, "too-many" if path in left_out else "connected") for path in paths]
        return left_out


def read_steps(items: Sequence[dict[str, Any]]) -> list[Step]:
    """Return what the items ask for, in their order. Errors: Problem 422 when one asks for what can't be."""
    complete = [item for item in items if "path" in item and "message" in item]
    texts = [{name: item[name] for name in ("path", "message")} for item in complete if not _is_command(item)]
    messages = iter(check_messages(texts))
    return [_read_command(item) if _is_command(item) else next(messages) for item in complete]


def _is_command(item: dict[str, Any]) -> bool:
    return item["path"] in (CONNECT, DISCONNECT)


def _read_command(item: dict[str, Any]) -> Command:
    message = item["message"]
    uid, arrow, path = message.partition(_ARROW) if isinstance(message, str) else ("", "", "")
    if not arrow or not is_path(path):
        raise Problem(422, f"The message of {item['path']} is uid{_ARROW}path.")
    return Command(item["path"], uid, path)


def _kind_of(step: Step) -> tuple[str, str] | None:
    """Return what steps in a row have in common when one call does them all: None for messages."""
    return (step.name, step.uid) if isinstance(step, Command) else None
