"""A proxy in front of the gateway that ends TLS, as the operators' own does, and speaks HTTP/2 with browsers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from roots_devstack import ports
from roots_devstack.child import Program
from roots_devstack.deadlines import until
from roots_devstack.environment import bare
from roots_devstack.processes import Process
from roots_devstack.programs import venv_program

CADDYFILE = """{{
	admin off
	auto_https off
	servers {{
		protocols h1 h2
	}}
}}
https://localhost:{port} {{
	bind {host}
	tls "{folder}/certificate.pem" "{folder}/key.pem"
	reverse_proxy {host}:{gateway}
}}
"""


@asynccontextmanager
async def tls_in_front(url: str, folder: Path) -> AsyncIterator[str]:
    """Yield the address of a proxy for `url`; its certificate is of an authority that nobody knows."""
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(folder / "certificate.pem", append=True)
    port = ports.reserve()
    content = CADDYFILE.format(port=port, host=ports.HOST, folder=folder, gateway=urlsplit(url).port)
    (folder / "Caddyfile").write_text(content, encoding="utf-8")
    command = (venv_program("caddy"), "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile")
    process = Process(Program(name="tls", command=command, env=bare({"HOME": str(folder)})))
    await process.start()
    try:
        await until(lambda: not ports.is_free(port))
        yield f"https://localhost:{port}"
    finally:
        await process.stop()
