"""Free TCP ports on the loopback interface.

They are taken from below the kernel's ephemeral range: a port that a process needs again after a restart must not
meanwhile become the local end of somebody's outgoing connection.
"""

import contextlib
import random
import socket
from pathlib import Path

from roots_devstack.errors import DevstackError

HOST = "127.0.0.1"
_HOST_V6 = "::1"
_LOWEST = 10_240
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_LOWEST = 32_768
_TRIES = 200

_handed_out: set[int] = set()


def reserve() -> int:
    """Return a port that nobody listens on, and that this process has not handed out before.

    Errors: OSError when none is found, which means that the machine has run out.
    """
    highest = _ephemeral_lowest() - 1
    for _ in range(_TRIES):
        port = random.randint(_LOWEST, highest)  # noqa: S311  # spreads parallel stacks, guards nothing
        if port not in _handed_out and is_free(port):
            _handed_out.add(port)
            return port
    raise OSError("no free port found on the loopback interface")


def claim(port: int, variable: str) -> int:
    """Return `port`, or any free one when it is 0.

    Errors: DevstackError when somebody listens there; it names the `variable` that sets another one.
    """
    if port == 0:
        return reserve()
    if not is_free(port):
        raise DevstackError(f"port {port} is taken; set {variable} to another one, or to 0 for any that is free")
    return port


def is_free(port: int) -> bool:
    """Return whether `port` can be bound on every loopback address of this machine."""
    return all(_can_bind(host, port) for host in loopback_hosts())


def loopback_hosts() -> list[str]:
    """Return the loopback addresses that this machine has; `localhost` may mean either."""
    return [HOST, _HOST_V6] if _can_bind(_HOST_V6, 0) else [HOST]


def _can_bind(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the servers do it: a port whose old connections are still in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return True
    return False


def _ephemeral_lowest() -> int:
    try:
        return int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_LOWEST
