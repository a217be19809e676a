"""A back-end API behind TLS."""

import ssl
from pathlib import Path

import pytest
import trustme

from cornelius import ConfigurationError, Dudley, Published

from .support import Log, ScriptedServer


@pytest.fixture
def authority() -> trustme.CA:
    """Return whoever vouches for the server."""
    return trustme.CA()


def context(authority: trustme.CA) -> ssl.SSLContext:
    """Return what the server shows."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    return made


def test_update_is_published_when_the_certificate_is_trusted(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names those who are trusted, as for every program that uses OpenSSL."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with ScriptedServer([Log().publish], tls=context(authority)) as server:
        dudley = Dudley(url=server.url)
        assert Published("tasks", 1) == dudley.update("tasks", "1")
        dudley.close()


def test_nothing_is_sent_when_the_certificate_is_not_trusted(authority: trustme.CA) -> None:
    """At once, with what to do: waiting would not help, and the key must not be told to a stranger."""
    with (
        ScriptedServer([Log().publish], tls=context(authority)) as server,
        pytest.raises(ConfigurationError, match="SSL_CERT_FILE"),
    ):
        Dudley(url=server.url, key="k-secret").update("tasks", "1")
    assert [] == server.requests
