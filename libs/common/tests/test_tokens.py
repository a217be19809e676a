"""Which tokens are good, and every attack on one that is known: what is refused, and by which reason."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots.auth.token_rules import Key, TokenRules
from roots.auth.tokens import MAX_TOKEN_BYTES, TokenError, TokenVerifier

from .token_support import (
    ALGORITHMS,
    ISSUER,
    SECRET,
    claims,
    make_rules,
    private_key,
    public_pem,
    raw_token,
    signed_by_hand,
    token,
    write_keys,
)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> TokenRules:
    """Return rules with a key for each algorithm."""
    folder = tmp_path_factory.mktemp("keys")
    return make_rules(folder, keys=write_keys(folder))


@pytest.fixture(scope="module")
def verifier(rules: TokenRules) -> TokenVerifier:
    """Return what verifies by `rules`."""
    return TokenVerifier(rules)


def refusal(verifier: TokenVerifier, text: str) -> str:
    """Return why `text` is refused."""
    with pytest.raises(TokenError) as caught:
        verifier.verify(text)
    assert caught.value.sentence
    return caught.value.reason


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_token_tells_who_when_it_is_good(verifier: TokenVerifier, algorithm: str) -> None:
    """Every algorithm works, and what the token says becomes the identity."""
    expires = int(time.time()) + 90
    identity = verifier.verify(
        token(
            algorithm,
            exp=expires,
            aud=["other", "roots"],
            scope="teams mail",
            scp=["more"],
            roles=["admin"],
            team="red",
            floor=7,
            path="a/b",
            is_boss=True,
            nested={"a": "b"},
            roots={"hear": ["news/**"]},
        )
    )
    assert ("ann", expires, ("news/**",)) == (identity.subject, identity.expires, identity.hear)
    assert [["mail", "more", "teams"], ["admin"]] == [sorted(identity.scopes), sorted(identity.roles)]
    assert {"sub": "ann", "team": "red", "floor": "7", "aud": None} == {
        name: identity.claims.get(name) for name in ("sub", "team", "floor", "aud")
    }
    assert not identity.claims.keys() & {"path", "is_boss", "nested", "roots"}


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": int(time.time()) - 1}, "expired"),
        ({"exp": int(time.time()) * 1000}, "lifetime"),
        ({"exp": time.time() * 1e6}, "lifetime"),
        ({"exp": 10**30}, "lifetime"),
        ({"exp": None}, "claims"),
        ({"exp": "4000000000"}, "claims"),
        ({"exp": [4000000000]}, "malformed"),
        ({"nbf": int(time.time()) + 86_400}, "not_yet"),
        ({"iat": int(time.time()) + 86_400}, "not_yet"),
        ({"nbf": "soon"}, "malformed"),
        ({"aud": "other"}, "audience"),
        ({"aud": ["roots2", "root"]}, "audience"),
        ({"aud": [["roots"]]}, "audience"),
        ({"aud": {"roots": 1}}, "audience"),
        ({"aud": ""}, "claims"),
        ({"aud": None}, "claims"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": f"{ISSUER}/"}, "issuer"),
        ({"iss": None}, "claims"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"sub": None}, "claims"),
        ({"sub": ""}, "claims"),
        ({"sub": "x" * 256}, "claims"),
        ({"sub": "ann\0"}, "claims"),
        ({"scope": 1}, "claims"),
        ({"roles": [1]}, "claims"),
        ({"roots": "all"}, "claims"),
        ({"roots": {"hear": "**"}}, "claims"),
        ({"roots": {"hear": ["x"] * 33}}, "claims"),
        ({"roots": {"hear": ["x" * 256]}}, "claims"),
        # Half a surrogate pair is no text: it could neither be compared with a path nor be kept.
        ({"sub": "\ud800"}, "claims"),
        ({"roots": {"hear": ["**", "\ud800"]}}, "claims"),
    ],
)
def test_token_is_refused_when_a_claim_is_wrong(verifier: TokenVerifier, others: dict[str, Any], reason: str) -> None:
    """A well-signed token still has to be ours, in time, and of the documented form."""
    assert reason == refusal(verifier, signed_by_hand(json.dumps(claims(**others)).encode()))


@pytest.mark.parametrize("value", [1, ["ann"], {"a": 1}, True])
def test_token_is_refused_when_its_subject_is_no_text(verifier: TokenVerifier, value: object) -> None:
    """PyJWT would not sign it, but another library may."""
    assert refusal(verifier, signed_by_hand(json.dumps(claims(sub=value)).encode())) in {"claims", "malformed"}


def test_token_is_refused_when_it_is_signed_by_none(verifier: TokenVerifier) -> None:
    """`alg=none`, in any spelling, with or without a signature, verifies nothing."""
    payload = json.dumps(claims()).encode()
    for spelling in ("none", "None", "NONE", "nOnE", "", None):
        for kid in ("HS256", "EdDSA"):
            assert "algorithm" == refusal(verifier, raw_token({"alg": spelling, "kid": kid}, payload))
            assert "algorithm" == refusal(verifier, raw_token({"alg": spelling, "kid": kid}, payload, b"x" * 64))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_token_is_refused_when_a_public_key_is_taken_for_a_secret(verifier: TokenVerifier, algorithm: str) -> None:
    """Key confusion: what everyone may know signs nothing, under whatever kid."""
    signer = jwt.get_algorithm_by_name("HS256")
    for pem in (public_pem(algorithm), public_pem(algorithm).strip()):
        good = raw_token({"alg": "HS256", "kid": algorithm}, json.dumps(claims()).encode())
        signing_input = good.rpartition(".")[0]
        forged = f"{signing_input}.{raw_token({}, b'', signer.sign(signing_input.encode(), pem)).rpartition('.')[2]}"
        assert "algorithm" == refusal(verifier, forged)
    assert "signature" == refusal(verifier, jwt.encode(claims(), b"x" * 32, "HS256", headers={"kid": "HS256"}))


def test_token_is_refused_when_its_key_is_for_another_algorithm(verifier: TokenVerifier) -> None:
    """Each key has one algorithm: the header chooses among keys, never how a key is used."""
    for algorithm in ALGORITHMS:
        for kid in ALGORITHMS:
            if kid != algorithm:
                assert "algorithm" == refusal(verifier, token(algorithm, kid=kid))
    for wrong in ("HS512", "HS384"):
        assert "algorithm" == refusal(verifier, jwt.encode(claims(), SECRET * 2, wrong, headers={"kid": "HS256"}))
    assert "algorithm" == refusal(
        verifier, jwt.encode(claims(), private_key("RS256"), "PS256", headers={"kid": "RS256"})
    )


@pytest.mark.parametrize("kid", ["unknown", "", "../HS256", "HS256\x00", "hs256", "' OR 1=1 --", "x" * 4000])
def test_token_is_refused_when_its_key_is_unknown(verifier: TokenVerifier, kid: str) -> None:
    """A kid is looked up and nothing else."""
    forged = jwt.encode(claims(), SECRET, "HS256", headers={"kid": kid})
    assert "key" == refusal(verifier, forged)


def test_token_without_kid_is_good_only_when_there_is_one_key(verifier: TokenVerifier, tmp_path: Path) -> None:
    """Many issuers with one key name none; with several there is nothing to guess."""
    (tmp_path / "secret").write_bytes(SECRET)
    one = TokenVerifier(make_rules(tmp_path, keys='[{ kid = "a", alg = "HS256", secret_file = "secret" }]'))
    assert "ann" == one.verify(token("HS256", kid=None)).subject
    assert "algorithm" == refusal(one, token("EdDSA", kid=None))
    assert "key" == refusal(verifier, token("HS256", kid=None))


def test_token_is_refused_when_anything_in_it_was_changed(verifier: TokenVerifier) -> None:
    """No character of a token can be another; a signature has one spelling only as far as base64 allows."""
    good = token("EdDSA")
    head, _, signature = good.rpartition(".")
    for index in range(0, len(head), 3):
        changed = head[:index] + ("A" if head[index] != "A" else "B") + head[index + 1 :]
        with pytest.raises(TokenError):
            verifier.verify(f"{changed}.{signature}")
    for other in (signature[:-4], "", signature[::-1], token("EdDSA", sub="bob").rpartition(".")[2]):
        with pytest.raises(TokenError):
            verifier.verify(f"{head}.{other}")


NO_TOKENS = ["", ".", "..", "...", "a.b.c", "a.b", "Bearer x", "é.é.é", "\x00", "e30.e30.", "bnVsbA.e30.", "=.=.="]


@pytest.mark.parametrize("text", [*NO_TOKENS, "a" * 200])
def test_token_is_refused_when_it_is_none(verifier: TokenVerifier, text: str) -> None:
    """What is no token at all is said to be none."""
    assert refusal(verifier, text) in {"malformed", "key"}


def test_token_is_refused_when_it_is_too_long(verifier: TokenVerifier) -> None:
    """I7: nobody makes us decode megabytes."""
    assert "oversize" == refusal(verifier, token("HS256", padding="x" * MAX_TOKEN_BYTES))
    assert "oversize" == refusal(verifier, "." * (MAX_TOKEN_BYTES + 1))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"[" * 3000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b"\xff\xfe",
        b'{"sub":"ann","aud":"roots","iss":"https://login.example","exp":1e999}',
        b'{"sub":"ann","aud":"roots","iss":"https://login.example","exp":Infinity}',
        b'{"sub":"ann","aud":"roots","iss":"https://login.example","exp":NaN}',
        b'{"sub":"ann","aud":"roots","iss":"https://login.example","exp":' + b"9" * 5000 + b"}",
        b'{"sub":"ann","aud":"roots","iss":"https://login.example","exp":4000000000,"nbf":-Infinity}',
    ],
)
def test_token_is_refused_when_its_payload_is_odd(verifier: TokenVerifier, payload: bytes) -> None:
    """A good signature makes no odd payload good, and none of them an error of ours."""
    assert refusal(verifier, signed_by_hand(payload)) in {"malformed", "claims"}


@pytest.mark.parametrize("header", [{"crit": ["x"]}, {"crit": "exp"}, {"b64": False}, {"kid": 1}, {"kid": ["HS256"]}])
def test_token_is_refused_when_its_header_asks_for_more(verifier: TokenVerifier, header: dict[str, Any]) -> None:
    """An extension that is critical to the issuer and unknown here is no token that we understand."""
    assert refusal(verifier, signed_by_hand(json.dumps(claims()).encode(), **header)) in {"malformed", "key"}


# The Cyrillic letter is a look-alike of the Latin one.
NO_SEGMENTS = ["..", ".", "a/b", "*", "**", "a b", "", "%2e%2e", "t\N{CYRILLIC SMALL LETTER A}sks", "a\n", "x" * 65]


@pytest.mark.parametrize("value", [*NO_SEGMENTS, "{sub}", "::x"])
def test_claim_is_no_segment_when_it_could_be_read_as_more(verifier: TokenVerifier, value: str) -> None:
    """I5: what a claim can stand for is one ordinary segment, so that no token widens a rule's path."""
    identity = verifier.verify(token("HS256", team=value, sub=value or "x"))
    assert "team" not in identity.claims
    assert value in ("", identity.subject)
    assert value == "" or "sub" not in identity.claims


@given(text=st.text(max_size=300))
def test_verifier_refuses_in_its_own_words_when_fuzzed(text: str) -> None:
    """Whatever comes as a token, the answer is a refusal with a reason, and no error."""
    rules = TokenRules(
        audience="roots",
        issuer=None,
        keys={"a": Key(algorithm="HS256", material=SECRET)},
        jwks=None,
        cookie=None,
        max_clients=1,
    )
    with pytest.raises(TokenError):
        TokenVerifier(rules).verify(text)
