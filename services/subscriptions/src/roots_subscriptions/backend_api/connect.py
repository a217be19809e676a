"""HTTP at the back-end API: `POST /v1/connect` and `GET /v1/revision`.

A back end grants paths that its key may grant, says whose the client is, and until when. With a revision that it read
before it decided, a revocation in between refuses the grant. Source: docs/protocol.md, The back-end API.
"""

import time
from typing import Annotated, Any

import falcon
import msgspec
from msgspec import UNSET

from roots.auth.policy import BACKENDS
from roots.contracts.grant_records import (
    MAX_INFO_BYTES,
    MAX_NUMBER,
    MAX_PATHS,
    MAX_PATHS_BYTES,
    GrantRecord,
    Seconds,
)
from roots.contracts.subjects import InvalidPathError, check_path
from roots.contracts.uids import Uids
from roots.http.web import Problem, read_json
from roots_subscriptions.backend_api.audit import About
from roots_subscriptions.backend_api.authorization import BackendAuthorizer, BackendRequest
from roots_subscriptions.backend_api.clients import Subject, check_uid
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.errors import ForeignClientError, RevokedSinceError
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.grants.record import Terms
from roots_subscriptions.grants.revisions import Revision

OTHER_SUBJECT_TYPE = "urn:roots:other-subject"
REVOKED_SINCE_TYPE = "urn:roots:revoked-since"


class Granting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request. Units: until is unix seconds."""

    uid: str
    paths: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_PATHS)]
    subject: Subject | None = None
    until: Seconds | None = None
    info: Any = UNSET
    if_revision: str | None = None


class BackendConnect:
    """`POST /v1/connect` and `GET /v1/revision`."""

    def __init__(self, authorizer: BackendAuthorizer, broker: BrokerThread, grants: Grants, uids: Uids) -> None:
        self._authorizer = authorizer
        self._broker = broker
        self._grants = grants
        self._uids = uids

    def on_post_connect(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 with `connected` and `refused`; 422 when the client has room for none of the paths."""
        with self._authorizer.admit(req, "connect") as request:
            granting = read_json(req, Granting)
            request.about = About(uid=granting.uid, subject=granting.subject)
            check_uid(self._uids, granting.uid)
            paths, terms = _read(granting)
            refused = [path for path in paths if not request.backend.may_grant(path)]
            if refused:
                request.results += [(path, "forbidden") for path in refused]
                raise _forbidden(refused)
            self._authorizer.charge(request, len(paths) - 1)
            record = self._grant(request, granting.uid, paths, terms)
            connected = [path for path in paths if path in record.paths]
            left_out = [{"path": path, "reason": "limit"} for path in paths if path not in record.paths]
            request.results += [(path, "connected" if path in record.paths else "too-many") for path in paths]
            if not connected:
                detail = f"A client receives at most {MAX_PATHS} paths, of {MAX_PATHS_BYTES} bytes together."
                raise Problem(422, detail, field="paths", refused=left_out)
            resp.media = {"connected": connected, "refused": left_out}

    def on_get_revision(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the revision from which a back end may decide on a subject; it is the same for all of them."""
        with self._authorizer.admit(req, "revision") as request:
            request.about = About(subject=read_subject(req))
            resp.media = {"revision": str(self._broker.call(self._grants.revision()))}
            resp.cache_control = ["no-store"]

    def _grant(self, request: BackendRequest, uid: str, paths: list[str], terms: Terms) -> GrantRecord:
        """Grant `paths` as far as there is room, and return the record. Errors: Problem 409, 403."""
        by = f"{BACKENDS}.{request.backend.name}"
        try:
            record = self._broker.call(self._grants.connect(uid, paths, by=by, identity=None, terms=terms)).after
        except ForeignClientError as error:
            detail = "This uid belongs to another subject; its client has to begin again."
            raise Problem(409, detail, type=OTHER_SUBJECT_TYPE, reason="subject") from error
        except RevokedSinceError as error:
            detail = "A revocation came after this revision; read another one, and decide again."
            raise Problem(409, detail, type=REVOKED_SINCE_TYPE, reason="revision") from error
        left_out = paths if record is None else [path for path in paths if path not in record.paths]
        if record is None or any(map(record.has_room_for, left_out)):
            # The policy has changed since its rights were looked at.
            raise _forbidden(left_out)
        return record


def _read(granting: Granting) -> tuple[list[str], Terms]:
    """Return what the request asks for, each path once. Errors: Problem 422."""
    for index, path in enumerate(granting.paths):
        try:
            check_path(path)
        except InvalidPathError as error:
            raise Problem(422, f"Not a path: {error}.", field=f"paths[{index}]") from error
    if granting.until is not None and not time.time() < granting.until <= MAX_NUMBER:
        raise Problem(422, "It is no time to come, in seconds since 1970.", field="until")
    if granting.info is not UNSET and len(msgspec.json.encode(granting.info)) > MAX_INFO_BYTES:
        raise Problem(422, f"It has more than {MAX_INFO_BYTES} bytes of JSON.", field="info")
    try:
        revision = None if granting.if_revision is None else Revision.parse(granting.if_revision)
    except ValueError as error:
        raise Problem(422, "It is no revision of GET /v1/revision.", field="if_revision") from error
    terms = Terms(subject=granting.subject, until=granting.until, info=granting.info, revision=revision)
    return list(dict.fromkeys(granting.paths)), terms


def read_subject(req: falcon.Request) -> str | None:
    """Return the subject of the query, None without one. Errors: Problem 422."""
    try:
        return msgspec.convert(req.get_param("subject"), Subject | None)
    except msgspec.ValidationError as error:
        raise Problem(422, str(error), field="subject") from error


def _forbidden(paths: list[str]) -> Problem:
    refused = [{"path": path, "reason": "policy"} for path in paths]
    return Problem(403, "This key may not grant these paths; nothing is granted.", refused=refused)
