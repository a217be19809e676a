"""What a client receives and why: the answer of `GET /v1/clients/{uid}`.

Built from the client's record, the policy, and the answers of the replicas. Nothing here does I/O.
Source: docs/protocol.md, The back-end API.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET

from roots.auth.policy import Policy
from roots.contracts.grant_records import GrantRecord
from roots.contracts.identity import ANONYMOUS
from roots.contracts.requests import HeldPoll
from roots_subscriptions.grants.refusals import Refusal

# Of the year 9999, the last that has a text. A record may say anything.
_LAST_SECOND = 253_402_300_799


def explain(
    record: GrantRecord | None,
    held_polls: Iterable[HeldPoll],
    refusals: Iterable[Refusal],
    *,
    may_see: Callable[[str], bool],
    may_grant: Callable[[str], bool],
) -> dict[str, Any]:
    """Return what the asking back end may know of one client.

    Shape: `subject` and `expires` are for back ends that `may_see` a path of the client, lost and refused ones
        included; `said` is for those that `may_grant` one, since they decide by it.
    """
    paths = {} if record is None else record.paths
    replicas = list(held_polls)
    refused = sorted((refusal for refusal in refusals if may_see(refusal.path)), key=lambda refusal: refusal.at)
    concerned = [*paths, *([] if record is None else record.withdrawn), *(refusal.path for refusal in refused)]
    seen = record if any(map(may_see, concerned)) else None
    decided = record if any(map(may_grant, concerned)) else None
    return {
        "subject": None if seen is None else seen.subject,
        "said": {} if decided is None else msgspec.to_builtins(decided.token_claims),
        "expires": None if seen is None else time_text(seen.expires),
        "hears": [
            {
                "path": path,
                "by": grant.by,
                "since": time_text(grant.at),
                "from": grant.from_seq,
                "until": None if grant.until is None else time_text(grant.until),
                **({} if grant.info is UNSET else {"info": grant.info}),
            }
            for path, grant in paths.items()
            if may_see(path)
        ],
        "withdrawn": [path for path in ([] if record is None else record.withdrawn) if may_see(path)],
        "refused": [{**msgspec.to_builtins(refusal), "at": time_text(refusal.at)} for refusal in refused],
        "held": [{"replica": place.replica, "seconds": place.held} for place in replicas if place.held is not None],
        "replicas": len(replicas),
    }


def explain_path(record: GrantRecord | None, policy: Policy, path: str) -> dict[str, Any]:
    """Return whether the client receives `path`, and what the policy decides on it for each app.

    The policy decides by the claims in the record: those of the token with which the client connected last.
    """
    identity = ANONYMOUS if record is None else record.identity
    grant = None if record is None else record.paths.get(path)
    decisions = {app: policy.decide(app, path, identity) for app in policy.apps}
    if grant is not None:
        why = f"{grant.by} granted it"
    elif any(decision.is_allowed for decision in decisions.values()):
        why = "the policy allows it; the client has not connected it, or has disconnected it"
    elif record is None:
        why = "nothing is granted to this client, and the policy does not allow it without a token"
    else:
        why = "no app allows it"
    return {
        "path": path,
        "heard": grant is not None,
        "why": why,
        "decisions": [
            {"app": app, "allowed": decision.is_allowed, "rule": decision.rule, "reason": decision.reason}
            for app, decision in decisions.items()
        ],
        "grantors": [f"backends.{backend.name}" for backend in policy.backends.values() if backend.may_grant(path)],
    }


def time_text(seconds: float) -> str:
    """Return unix seconds as a text in UTC; what is after the year 9999 is its end."""
    return datetime.fromtimestamp(min(seconds, _LAST_SECOND), UTC).isoformat().replace("+00:00", "Z")
