"""`python -m roots.runtime.probe PORT`: the health check of a container, which has no other program to ask with.

It ends with status 0 when the process behind the admin port is ready, and with 1 and what is missing when it is not.
ROOTS_ADMIN_PORT, where it is set, counts instead of PORT. It is started every few seconds, so it loads almost nothing:
`http.client` alone takes several times as long as all of this.
"""

import os
import socket
import sys

TIMEOUT_SECONDS = 2.0

_REQUEST = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n"


def unready_reason(port: int) -> str | None:
    """Return None when the process is ready, else the text of its answer."""
    try:
        with socket.socket() as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(("127.0.0.1", port))
            connection.sendall(_REQUEST)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError as error:
        return f"it does not answer on port {port}: {error}"
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ")[1:2] == [b"200"]:
        return None
    return body.decode(errors="replace") or f"it does not answer on port {port} with a reason"


def main() -> None:
    """Ask the port that the command line or the environment names."""
    sys.exit(unready_reason(int(os.environ.get("ROOTS_ADMIN_PORT", sys.argv[-1]))))


if __name__ == "__main__":
    main()
