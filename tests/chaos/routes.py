"""The ways that polls take: through the gateway or straight to a replica, each also through a proxy that breaks."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .chance import source
from .proxy import Proxy

GATEWAY = "gateway"
GATEWAY_PREFIX = "/comet"
PROXIED = "~"
# Always, beside the bursts: one answer in so many is lost, and one connection in so many is read slowly.
DROPS = 1 / 200
SLOWS = 1 / 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way. Shape: prefix stands before `/{uid}/{cursor}`."""

    name: str
    url: str
    prefix: str

    @property
    def is_slow(self) -> bool:
        """Whether answers may be read slowly on this way."""
        return self.name.endswith(PROXIED)


@dataclass(slots=True)
class Routes:
    """All ways, and the proxies in them."""

    gateway_url: str
    proxied_gateway_url: str
    routes: list[Route]
    weights: list[float]
    proxies: list[Proxy] = field(default_factory=list)

    def choose(self, chance: random.Random) -> Route:
        """Return any way; the gateway is the most usual."""
        return chance.choices(self.routes, self.weights)[0]


@asynccontextmanager
async def open_routes(gateway_url: str, replicas: dict[str, str], seed: int) -> AsyncIterator[Routes]:
    """Yield the ways to a running stack. Shape: replicas has the URL of each by its name."""
    async with AsyncExitStack() as exits:
        routes: list[Route] = []
        proxies: list[Proxy] = []
        proxied_urls: list[str] = []
        for name, url in {GATEWAY: gateway_url, **replicas}.items():
            prefix = GATEWAY_PREFIX if name == GATEWAY else ""
            parts = urlsplit(url)
            chance = source(seed, f"proxy {name}")
            proxy = Proxy("127.0.0.1", parts.port or 80, chance, drops=DROPS, slows=SLOWS)
            proxies.append(await exits.enter_async_context(proxy))
            proxied_urls.append(proxy.url)
            routes.append(Route(name=name, url=f"http://127.0.0.1:{parts.port}", prefix=prefix))
            routes.append(Route(name=name + PROXIED, url=proxy.url, prefix=prefix))
        weights = [4.0, 3.0, *(3.0 / len(replicas) for _ in replicas for _ in (PROXIED, ""))]
        yield Routes(
            gateway_url=routes[0].url,
            proxied_gateway_url=proxied_urls[0],
            routes=routes,
            weights=weights,
            proxies=proxies,
        )
