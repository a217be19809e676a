"""A proxy in front of the gateway that ends TLS, as the operators' own does, and speaks HTTP/2 with browsers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import trustme
from tests.testkit.deadlines import until

from roots_devstack.processes import ports
from roots_devstack.processes.child import Program
from roots_devstack.processes.environment import bare
from roots_devstack.processes.programs import haproxy_program
from roots_devstack.processes.supervision import Process

CONFIGURATION = """
defaults
	mode http
	timeout connect 2s
	timeout client 60s
	timeout server 60s
listen tls
	bind {host}:{port} ssl crt "${{CERTIFICATE}}" alpn h2,http/1.1
	server gateway {host}:{gateway}
"""


@asynccontextmanager
async def tls_in_front(url: str, folder: Path) -> AsyncIterator[str]:
    """Yield the address of a proxy for `url`; its certificate is of an authority that nobody knows."""
    certificate = folder / "certificate.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    port = ports.reserve()
    file = folder / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(port=port, host=ports.HOST, gateway=urlsplit(url).port), encoding="ascii")
    env = bare({"CERTIFICATE": str(certificate)})
    process = Process(Program(name="tls", command=(haproxy_program(), "-db", "-f", file), env=env))
    await process.start()
    try:
        await until(lambda: not ports.is_free(port))
        yield f"https://localhost:{port}"
    finally:
        await process.stop()
