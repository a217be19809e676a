"""NATS's own keys, read from the texts that its tools write."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from roots.nats.nkeys import USER_PREFIX, Credentials, Nkey, NkeyError, read_credentials, read_nkey

KEY = Nkey(USER_PREFIX, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
# The pair of the documentation of nats-io/nkeys.
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def credentials(jwt: str = "a.b-c.d_e", seed: str = KEY.seed) -> str:
    """Return a credentials file as `nsc` writes it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\nThe seed below is a secret.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


def test_pair_is_read_when_its_seed_is_one_of_nats() -> None:
    """The public key that NATS's documentation has for its seed is ours."""
    assert (PUBLIC, SEED) == (Nkey.from_seed(SEED).public, Nkey.from_seed(SEED).seed)
    assert KEY.public == Nkey.from_seed(KEY.seed).public
    KEY.private.public_key().verify(base64.b64decode(KEY.sign("nonce")), b"nonce")


@pytest.mark.parametrize("text", ["", "x", PUBLIC, SEED[:-1], SEED[:-1] + "A", SEED.lower(), "SU" + "A" * 56, "ü"])
def test_seed_is_refused_when_it_is_none(text: str) -> None:
    """I10: a mistyped seed is noticed by its checksum, and not told."""
    with pytest.raises(NkeyError) as caught:
        Nkey.from_seed(text)
    assert "it is no seed of NATS" == str(caught.value)


def test_credentials_are_read_when_the_file_has_both_parts(tmp_path: Path) -> None:
    """The JWT is passed on as it is; the seed signs; neither is in what a log would show."""
    file = tmp_path / "a.creds"
    file.write_text(credentials().replace("\n", "\r\n"))
    read = read_credentials(str(file))
    assert ("a.b-c.d_e", KEY.public) == (read.jwt, read.nkey.public)
    assert KEY.seed not in repr(read)
    file.write_text(f"\n{KEY.seed}\n")
    assert KEY.public == read_nkey(str(file)).public


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "NATS USER JWT"),
        (KEY.seed, "NATS USER JWT"),
        (credentials().replace("NKEY SEED", "SEED"), "USER NKEY SEED"),
        (credentials(seed="SUX"), "no seed"),
    ],
)
def test_credentials_are_refused_when_a_part_is_missing(text: str, problem: str) -> None:
    """The sentence names what is missing."""
    with pytest.raises(NkeyError, match=problem):
        Credentials.parse(text)
