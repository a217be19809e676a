"""HTTP at the back-end API: explain what clients receive, and revoke it.

`/v1/clients/{uid}`, `/v1/explain` and `/v1/revoke`.

A back end withdraws the paths that it may grant, and sees those and the ones that it may publish on; other paths of the
same client stay hidden from it.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import falcon
import msgspec

from roots.auth.backends import Backend
from roots.auth.policy import Policy
from roots.contracts.requests import HeldPoll
from roots.contracts.subjects import CLIENTS_HELD, CLIENTS_REFUSED, InvalidPathError, check_path
from roots.contracts.uids import Uids
from roots.http.web import Problem, read_json
from roots_subscriptions.backend_api.audit import About
from roots_subscriptions.backend_api.authorization import BackendAuthorizer, BackendRequest
from roots_subscriptions.backend_api.explain import explain, explain_path
from roots_subscriptions.broker.inquiry import Inquiry
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.grants.refusals import Refusal

# An explanation asks every replica and takes a thread for a quarter of a second: far more than a message does.
EXPLAIN_TOKENS = 100
# Thousands of records may have to be written, each synced to disk.
REVOKE_SECONDS = 30.0
MAX_EXPLAINED = 100


Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom and what a revocation names: a uid or a subject, and with one of them or alone, a path."""

    uid: str | None = None
    subject: Subject | None = None
    path: str | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom a request is to explain, and for which path."""

    uids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_EXPLAINED)]
    path: str | None = None


class Clients:
    """`GET` and `DELETE /v1/clients/{uid}`, `POST /v1/explain` and `POST /v1/revoke`."""

    def __init__(
        self,
        authorizer: BackendAuthorizer,
        broker: BrokerThread,
        grants: Grants,
        uids: Uids,
        policy: Callable[[], Policy],
    ) -> None:
        self._authorizer = authorizer
        self._broker = broker
        self._grants = grants
        self._uids = uids
        self._policy = policy
        self._inquiry = Inquiry(broker.client)

    def on_get(self, req: falcon.Request, resp: falcon.Response, uid: str) -> None:
        """Answer what the client receives, who it is, what it was refused and which replica holds its poll.

        With `?path=`, answer also why it receives that path or not.
        """
        with self._authorizer.admit(req, "explain") as request:
            request.about = About(uid=uid)
            (answer,) = self._explain_each(request, [uid], req.get_param("path"))
            if answer is None:
                raise NoClient
            resp.media = answer
            resp.cache_control = ["no-store"]

    def on_delete(self, req: falcon.Request, resp: falcon.Response, uid: str) -> None:
        """Withdraw from the client all that the back end may grant."""
        with self._authorizer.admit(req, "revoke") as request:
            resp.media = self._revoke(request, Target(uid=uid))

    def on_post_explain(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the same as for each of the clients, in their order; null for one that has ended."""
        with self._authorizer.admit(req, "explain") as request:
            question = read_json(req, Question)
            request.about = About(count=len(question.uids))
            resp.media = {"clients": self._explain_each(request, question.uids, question.path)}
            resp.cache_control = ["no-store"]

    def on_post_revoke(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Withdraw what the body names; answer from how many clients, and how many of their paths."""
        with self._authorizer.admit(req, "revoke") as request:
            resp.media = self._revoke(request, read_json(req, Target))

    def _revoke(self, request: BackendRequest, target: Target) -> dict[str, Any]:
        """Withdraw what `target` names, as far as the back end may grant it, and return the answer.

        Errors: Problem 422 or 410 for what it names, 403 for a path; BrokerUnavailableError when not everything is
            withdrawn, and then doing it again does the rest.
        """
        request.about = About(subject=target.subject, uid=target.uid)
        if target.uid is None and target.subject is None and target.path is None:
            raise Problem(422, "It names neither a uid, nor a subject, nor a path.", field="body")
        if target.uid is not None and target.subject is not None:
            raise Problem(422, "It names a uid and a subject; name one of them.", field="body")
        if target.uid is not None:
            check_uid(self._uids, target.uid)
        if target.path is not None:
            request.about.path = read_path(target.path)
            if not request.backend.may_grant(target.path):
                raise Problem(403, "This key may not grant this path, nor withdraw it.")
        revoked = self._broker.call(
            self._grants.revoke(
                uid=target.uid, subject=target.subject, path=target.path, may_revoke=request.backend.may_grant
            ),
            timeout_seconds=REVOKE_SECONDS,
        )
        request.about.count = revoked.paths
        return {"revoked": {"clients": revoked.clients, "paths": revoked.paths}}

    def _explain_each(self, request: BackendRequest, uids: list[str], path: str | None) -> list[dict[str, Any] | None]:
        """Return what there is to know of each client, None for a uid that was not issued here or has expired.

        Errors: Problem 422 for the path, 403 when the back end may not see it; 429; BrokerUnavailableError.
        """
        if path is not None:
            request.about.path = read_path(path)
            if not _may_see(request.backend, path):
                raise Problem(403, "This key may neither publish on this path nor grant it.")
        known = [uid for uid in uids if self._uids.is_valid(uid)]
        self._authorizer.charge(request, EXPLAIN_TOKENS * max(1, len(known)) - 1)

        async def explain_all() -> list[dict[str, Any]]:
            return await asyncio.gather(*(self._explain(request.backend, uid, path) for uid in known))

        answers = dict(zip(known, self._broker.call(explain_all()), strict=True))
        return [answers.get(uid) for uid in uids]

    async def _explain(self, backend: Backend, uid: str, path: str | None) -> dict[str, Any]:
        record, held_polls, refusals = await asyncio.gather(
            self._grants.read(uid),
            self._inquiry.ask(CLIENTS_HELD, uid, HeldPoll),
            self._inquiry.ask(CLIENTS_REFUSED, uid, list[Refusal]),
        )
        answer = explain(
            record,
            held_polls,
            [refusal for answer in refusals for refusal in answer],
            may_see=lambda seen: _may_see(backend, seen),
            may_grant=backend.may_grant,
        )
        if path is not None:
            answer["path"] = explain_path(record, self._policy(), path)
        return answer


class NoClient(Problem):
    """The uid is none of this system's."""

    def __init__(self) -> None:
        super().__init__(410, "This uid was not issued here or has expired; its client begins again by itself.")


def check_uid(uids: Uids, uid: str) -> None:
    """Return when `uid` is one of this system's. Errors: NoClient."""
    if not uids.is_valid(uid):
        raise NoClient


def read_path(text: str) -> str:
    """Return `text` when it is a path. Errors: Problem 422."""
    try:
        return check_path(text)
    except InvalidPathError as error:
        raise Problem(422, f"Not a path: {error}.", field="path") from error


def _may_see(backend: Backend, path: str) -> bool:
    return backend.may_grant(path) or backend.may_publish(path)
