"""The naive design on a threaded server: Falcon on waitress, and a thread that waits for each poll.

Run as `python -m bench.peers.thread_per_poll PORT`.
"""

import sys
import threading

import falcon
import waitress

MAX_POLLS = 1100


class Paths:
    """Who waits on which path. What is published while nobody waits is lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[threading.Event, list[bytes]]]] = {}

    def on_get_poll(self, _request: falcon.Request, response: falcon.Response, path: str) -> None:
        """Answer with the next message of `path`."""
        # An event for each: with one condition that all share, its lock makes them come one by one.
        event, box = threading.Event(), list[bytes]()
        with self._lock:
            self._waiting.setdefault(path, []).append((event, box))
        event.wait()
        response.data = box[0]

    def on_post_publish(self, request: falcon.Request, response: falcon.Response, path: str) -> None:
        """Wake all who wait on `path`."""
        message = request.bounded_stream.read()
        with self._lock:
            waiting = self._waiting.pop(path, [])
        for event, box in waiting:
            box.append(message)
            event.set()
        response.status = falcon.HTTP_202


def main() -> None:
    """Serve on the port of the command line until a signal ends it."""
    app = falcon.App()
    paths = Paths()
    app.add_route("/poll/{path}", paths, suffix="poll")
    app.add_route("/publish/{path}", paths, suffix="publish")
    waitress.serve(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        threads=MAX_POLLS,
        connection_limit=MAX_POLLS * 2,
        backlog=4096,
        asyncore_use_poll=True,
    )


if __name__ == "__main__":
    main()
