"""The naive design on an asynchronous server: Falcon, and a task that awaits an event for each poll. Run by granian."""

import asyncio

import falcon.asgi


class Paths:
    """Who waits on which path. What is published while nobody waits is lost."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[bytes]]] = {}

    async def on_get_poll(self, _request: falcon.asgi.Request, response: falcon.asgi.Response, path: str) -> None:
        """Answer with the next message of `path`."""
        waiting = self._waiting.setdefault(path, set())
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting.add(future)
        try:
            response.data = await future
        finally:
            waiting.discard(future)

    async def on_post_publish(self, request: falcon.asgi.Request, response: falcon.asgi.Response, path: str) -> None:
        """Wake all who wait on `path`."""
        message = await request.bounded_stream.read()
        for future in self._waiting.pop(path, ()):
            if not future.done():
                future.set_result(message)
        response.status = falcon.HTTP_202


def create_app() -> falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]:
    """Return the application."""
    app = falcon.asgi.App()
    paths = Paths()
    app.add_route("/poll/{path}", paths, suffix="poll")
    app.add_route("/publish/{path}", paths, suffix="publish")
    return app


app = create_app()
