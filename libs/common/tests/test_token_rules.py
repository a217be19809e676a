"""How a wrong `[tokens]` table is refused."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from roots.auth.policy_file import PolicyError

from .token_support import SECRET, make_rules, private_pem, public_pem


def key(algorithm: str, **files: str) -> str:
    """Return a key table with the kid `a`."""
    named = "".join(f', {name} = "{file}"' for name, file in files.items())
    return f'{{ kid = "a", alg = "{algorithm}"{named} }}'


GOOD = key("HS256", secret_file="secret")


def write_files(folder: Path) -> None:
    """Write keys that are of no use for one reason or another, and a secret that is good."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # the point
    curve = ec.generate_private_key(ec.SECP384R1())
    for name, key_pair in (("weak", weak), ("curve", curve)):
        pem = key_pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / name).write_bytes(pem)
    (folder / "secret").write_bytes(SECRET)
    (folder / "short").write_bytes(b"short")
    (folder / "pem").write_bytes(public_pem("EdDSA"))
    (folder / "private").write_bytes(private_pem("EdDSA"))


@pytest.mark.parametrize(
    ("keys", "place", "problem"),
    [
        ("1", "", "object"),
        ('{ kid = "a" }', "", "alg"),
        (key("none", secret_file="secret"), ".alg", "none"),
        (key("HS512", secret_file="secret"), ".alg", "HS512"),
        (key("HS256"), "", "secret_file"),
        (key("HS256", public_key_file="pem"), "", "secret_file"),
        (key("HS256", secret_file="secret", public_key_file="pem"), "", "public_key_file"),
        (key("EdDSA", secret_file="secret"), "", "public_key_file"),
        (key("HS256", secret_file="none"), ".secret_file", "No such"),
        (key("HS256", secret_file="short"), ".secret_file", "32 bytes"),
        (key("HS256", secret_file="pem"), ".secret_file", "public key"),
        (key("ES256", public_key_file="pem"), ".public_key_file", "ES256"),
        (key("ES256", public_key_file="curve"), ".public_key_file", "ES256"),
        (key("EdDSA", public_key_file="secret"), ".public_key_file", "PEM"),
        (key("EdDSA", public_key_file="private"), ".public_key_file", "private"),
        (key("RS256", public_key_file="weak"), ".public_key_file", "2048"),
        (key("HS256", secret_file="secret", kid2="b"), ".kid2", "no such key"),
    ],
)
def test_rules_name_the_key_when_it_is_wrong(tmp_path: Path, keys: str, place: str, problem: str) -> None:
    """A key that could not be meant is refused where the policy is read, and never shown (I10)."""
    write_files(tmp_path)
    with pytest.raises(PolicyError) as caught:
        make_rules(tmp_path, keys=f"[{keys}]")
    assert f"tokens.keys[0]{place}" == caught.value.place
    assert problem in caught.value.problem
    assert SECRET.decode() not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "place", "problem"),
    [
        ({}, "tokens", "no key"),
        ({"keys": f"[{GOOD}, {GOOD}]"}, "tokens.keys[1].kid", "two keys"),
        ({"jwks": '"http://login.example/jwks"'}, "tokens.jwks", "https"),
        ({"jwks": '"file:///etc/passwd"'}, "tokens.jwks", "https"),
        ({"jwks": '"https://[x"'}, "tokens.jwks", "URL"),
        ({"jwks": '"https:///jwks"'}, "tokens.jwks", "https"),
        ({"cookie": '"a b"'}, "tokens.cookie", "regex"),
        ({"max_clients": "0"}, "tokens.max_clients", ">= 1"),
        ({"audience": '""'}, "tokens.audience", "length"),
        ({"secret": '"x"'}, "tokens.secret", "no such key"),
    ],
)
def test_rules_name_the_place_when_they_are_wrong(
    tmp_path: Path, values: dict[str, str], place: str, problem: str
) -> None:
    """Nothing unknown is ignored, and keys come only from where nobody can change them on the way."""
    write_files(tmp_path)
    with pytest.raises(PolicyError) as caught:
        make_rules(tmp_path, **values)
    assert place == caught.value.place
    assert problem in caught.value.problem
