"""`python -m roots.runtime.probe PORT`: the health check of a container, which has no other program to ask with.

It ends with status 0 when the process behind the admin port is ready, and with 1 and what is missing when it is not.
ROOTS_ADMIN_PORT, where it is set, counts instead of PORT.
"""

import http.client
import os
import sys

TIMEOUT_SECONDS = 2.0


def unready_reason(port: int) -> str | None:
    """Return None when the process is ready, else its own words."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return None if answer.status == http.client.OK else answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return f"it does not answer on port {port}: {error}"
    finally:
        connection.close()


def main() -> None:
    """Ask the port that the command line or the environment names."""
    sys.exit(unready_reason(int(os.environ.get("ROOTS_ADMIN_PORT", sys.argv[-1]))))


if __name__ == "__main__":
    main()
