"""What nobody should send: texts, tokens, bodies and requests that are wrong in some way, or right by chance.

Everything comes from one random.Random, so a seed repeats it.
"""

import base64
import json
import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

TEXTS = [
    "",
    ".",
    "..",
    "%2e%2e",
    "%00",
    "%",
    "*",
    "**",
    ">",
    "::connect",
    "::+::disconnect",
    "undefined",
    "tasks",
    "tasks/",
    "fence",
    "users/bob/secret",
    "users%2Fbob%2Fsecret",
    "users/ann/../bob/secret",
    "users/ann/%2e%2e/bob/secret",
    "users/*/secret",
    "users/**",
    "\uff55sers/bob/secret",
    "users.bob.secret",
    "Users/bob/secret",
    "users/bob/secret\u200b",
    "x->users/bob/secret",
    "-1",
    "9" * 40,
    "NaN",
    "' or 1=1 --",
    "\x7f\x01",
    "\U0001f333",
    "x" * 300,
    "x/" * 200,
]
METHODS = ["GET", "POST", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
HEADERS = ["If-Match", "If-None-Match", "Idempotency-Key", "Content-Type", "Accept", "Origin", "Cookie", "Range"]
TARGETS = {
    "longpoll": ["/{}/{}", "/{}", "/{}/{}/{}", "/?{}"],
    "connect": ["/tasks/connect/{}", "/tasks/disconnect/{}", "/{}/connect/{}", "/{}"],
    "backend-api": ["/", "/v1/publish", "/v1/revoke", "/v1/clients/{}", "/v1/clients/{}?path={}", "/{}"],
    "tasks": ["/tasks", "/tasks?{}={}", "/tasks?after={}", "/task/{}", "/{}"],
}
MAX_DEPTH = 4
_BODIES_OF_NO_SHAPE = [
    b"",
    b"[",
    b"[" * 100_000,
    b"\xff\xfe",
    b"null",
    b"1e999",
    b'"\\ud800"',
    b'["\\u0000"]',
    b"{" * 50,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. Shape: service is a key of TARGETS."""

    service: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Hostile:
    """Makes requests. Shape: uids, cursors, tokens and key are good ones, which some requests have as they are."""

    def __init__(self, seed: int, *, uids: list[str], cursors: list[str], tokens: list[str], key: str) -> None:
        self._random = random.Random(seed)  # noqa: S311  # to be repeated, not to be secret
        self._uids = uids
        self._cursors = cursors
        self._tokens = tokens
        self._key = key

    def request(self) -> Request:
        """Return the next one."""
        choose = self._random.choice
        service = choose(list(TARGETS))
        template = choose(TARGETS[service])
        places = [self._segment(number) for number in range(template.count("{}"))]
        return Request(
            service=service,
            method="GET" if service == "longpoll" and self._is_likely() else choose(METHODS),
            target=template.format(*places),
            headers=self._headers(),
            body=b"" if service == "longpoll" and self._is_likely() else self._body(),
        )

    def _is_likely(self) -> bool:
        return self._random.random() < 0.9

    def _segment(self, number: int) -> str:
        """Return a part of a target: often what belongs there, else anything, percent-encoded or half so."""
        good = self._random.choice(self._cursors if number else self._uids)
        text = good if self._random.random() < 0.5 else self._text()
        return quote(text, safe=self._random.choice(["", "/%:+>*"]))

    def _text(self) -> str:
        kind = self._random.randrange(4)
        if kind == 0:
            return self._random.choice(TEXTS)
        if kind == 1:
            return "".join(chr(self._random.randrange(1, 0xD800)) for _ in range(self._random.randrange(12)))
        if kind == 2:
            return self._random.choice(TEXTS) + self._random.choice(["", "/", "."]) + self._random.choice(TEXTS)
        return self._spoilt(self._random.choice(self._uids + self._cursors))

    def _spoilt(self, text: str) -> str:
        """Return `text` with one thing wrong."""
        place = self._random.randrange(len(text))
        return self._random.choice(
            [
                text[:place],
                text[place:],
                text + text,
                text[:place] + self._random.choice("aZ0.-_~/") + text[place + 1 :],
                text.swapcase(),
            ]
        )

    def _token(self) -> str:
        good = self._random.choice(self._tokens)
        head, claims, signature = good.split(".")
        other = {"sub": "bob", "aud": "roots", "exp": 4_000_000_000, "roots": {"hear": ["**"]}}
        return self._random.choice(
            [
                good,
                self._key,
                self._spoilt(self._key),
                self._spoilt(good),
                f"{_part({'alg': 'none', 'kid': 'secret'})}.{claims}.",
                f"{_part({'alg': 'HS256', 'kid': 'public'})}.{claims}.{signature}",
                f"{head}.{_part(other)}.{signature}",
                f"{head}.{claims}.{signature}.{signature}",
                "x" * 9000,
            ]
        )

    def _headers(self) -> dict[str, str]:
        headers = {}
        if self._random.random() < 0.6:
            headers["Authorization"] = self._random.choice(["Bearer", "bearer", "Basic"]) + f" {self._token()}"
        if self._random.random() < 0.3:
            text = self._text()
            # What would end the line is another request, not another header.
            headers[self._random.choice(HEADERS)] = "".join(char for char in text if char >= " " and char != "\x7f")
        return headers

    def _body(self) -> bytes:
        kind = self._random.randrange(5)
        if kind == 0:
            return self._random.choice(_BODIES_OF_NO_SHAPE)
        if kind == 1:
            return self._random.randbytes(self._random.randrange(40))
        if kind == 2:
            return json.dumps([self._text() for _ in range(self._random.randrange(1, 4))]).encode()
        return json.dumps(self._value(0)).encode()

    def _value(self, depth: int) -> Any:
        kind = self._random.randrange(7 if depth < MAX_DEPTH else 4)
        if kind < 2:
            return self._text()
        if kind < 4:
            return self._random.choice([None, True, 0, -1, 1.5, 10**30, 2**63])
        if kind < 5:
            return [self._value(depth + 1) for _ in range(self._random.randrange(4))]
        names = ["path", "message", "id", "uid", "subject", "description", "done", "", self._text()]
        return {self._random.choice(names): self._value(depth + 1) for _ in range(self._random.randrange(4))}


def _part(claims: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
