"""Requests without a key, as the client of 2009 sends them: from this machine alone.

Whoever may send them can publish any message on the paths of that back end. So the policy has to name the back end,
the back-end API has to listen on a loopback address, and the request has to come from one. May import: roots.
"""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from roots.auth.backends import find_keyless
from roots.auth.policy import BACKENDS, Policy, parse_policy
from roots.auth.policy_file import PolicyError, join_place, with_line


def policy_parser(host: str) -> Callable[[str, Path], Policy]:
    """Return what parses a policy for a back-end API that listens on `host`.

    Errors: the parser's PolicyError, also for a back end without a key when other machines can reach the API.
    """

    def parse(text: str, folder: Path) -> Policy:
        policy = parse_policy(text, folder)
        keyless = find_keyless(policy.backends)
        if keyless is not None and not is_loopback(host):
            reason = f"keyless needs a back-end API on a loopback address, and ROOTS_BACKEND_API_HOST is {host}"
            raise with_line(PolicyError(reason, f"{join_place(BACKENDS, keyless.name)}.keyless"), text)
        return policy

    return parse


def is_loopback(host: str) -> bool:
    """Return whether `host` is an address, or the name, that reaches no further than this machine."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower() == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
