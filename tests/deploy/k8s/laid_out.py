"""A container's files, laid out in a folder of this machine, and its environment, which names them there."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import trustme

from .manifests import Manifests, Workload

# What stands for a secret that is made elsewhere, by its key.
_EXAMPLES = {"url": "postgresql://tasks:k1@postgres.example:5432/tasks", "key": "k" * 43}
_PASSWORD = "kPassword"  # of nobody


@contextmanager
def laid_out_env(manifests: Manifests, workload: Workload) -> Iterator[dict[str, str]]:
    """Yield the environment of a workload's main container, whose files are in a folder while the block lasts."""
    container = workload.main
    with tempfile.TemporaryDirectory() as folder:
        for path, text in manifests.files(workload, container).items():
            file = Path(folder) / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_example(text), encoding="utf-8")
        mounts = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        env = {name: _PASSWORD if value[0] == "<" else value for name, value in manifests.env(container).items()}
        yield {name: _moved(_expanded(value, env), mounts, folder) for name, value in env.items()}


def _example(text: str) -> str:
    if text in ("ca.crt", "tls.crt", "tls.key"):
        return _certificates()[text]
    # A key's name stands for a secret that is made elsewhere; whatever else it is, it is long enough for a password.
    return _EXAMPLES.get(text, text if "\n" in text else f"k{text}{'x' * 32}")


@cache
def _certificates() -> dict[str, str]:
    authority = trustme.CA()
    issued = authority.issue_cert("nats", "localhost")
    return {
        "ca.crt": authority.cert_pem.bytes().decode(),
        "tls.crt": issued.cert_chain_pems[0].bytes().decode(),
        "tls.key": issued.private_key_pem.bytes().decode(),
    }


def _expanded(value: str, env: dict[str, str]) -> str:
    return re.sub(r"\$\(([A-Z_]+)\)", lambda found: env[found[1]], value)


def _moved(value: str, mounts: list[str], folder: str) -> str:
    return f"{folder}{value}" if any(value.startswith(f"{mount}/") for mount in mounts) else value
