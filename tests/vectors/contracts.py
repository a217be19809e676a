"""The contract of the services as test vectors: clients in other languages read `contracts.json` in their own tests.

`python -m tests.vectors.contracts` brings the file up to date; a test fails when it is not.
"""

import json
from pathlib import Path
from typing import Any

from roots.contracts import events, grant_records, requests, subjects, timing, uids
from roots_longpoll.delivery import cursor

FILE = Path(__file__).with_name("contracts.json")

_LONGEST_SEGMENT = "s" * 64
_PATHS = [
    *("a", "tasks", "users/7/inbox", ".", "..", "a/../b", "~me", "a+b=c@d.e-f_g", "A/Z/0/9", "//", "", "/", "/a", "a/"),
    *(
        "a//b",
        "a b",
        "a\n",
        "\na",
        "a\u0000",
        "ä",
        "é",
        "\uff41",
        "\u0661",
        "😀",
        "a%2Eb",
        "a*b",
        "a>b",
        "a:b",
        "::connect",
    ),
    *(subjects.DISCONNECT_PATH, "a?b", "a#b", "a\\b", "a,b", "a;b", "a&b", "a$b", "a|b", '"', "'", "<", "a'b"),
    *(_LONGEST_SEGMENT, _LONGEST_SEGMENT + "s", "/".join("a" * 8), "/".join("a" * 9)),
    *("/".join([_LONGEST_SEGMENT] * 3 + ["e" * 60]), "/".join([_LONGEST_SEGMENT] * 3 + ["e" * 61])),
]
_CURSORS = [(0, 0, 0), (1, 35, 36), (1_764_547_200_000, (1 << 53) - 1, (1 << 53) - 1)]
# Of the form that `Uids.mint` gives: each mint is random, and the file has to stay the same.
_UIDS = ["0" * uids.UID_CHARACTERS, "-_" + "A" * (uids.UID_CHARACTERS - 2), "_" * uids.UID_CHARACTERS]


def vectors() -> dict[str, Any]:
    """Return what the file has."""
    cursors = [cursor.render(cursor.Cursor(*parts)).decode() for parts in _CURSORS]
    return {
        "paths": [{"text": text, "is_path": subjects.is_path(text)} for text in _PATHS],
        "withdrawn_path": subjects.DISCONNECT_PATH,
        "positions": [
            {"reconnectWith": f"{uid}/{text}", "uid": uid, "cursor": text}
            for uid, text in zip(_UIDS, cursors, strict=True)
        ],
        "limits": {
            "path_bytes": subjects.MAX_PATH_BYTES,
            "paths_of_client": grant_records.MAX_PATHS,
            "paths_bytes_of_client": grant_records.MAX_PATHS_BYTES,
            "info_bytes": grant_records.MAX_INFO_BYTES,
            "message_bytes": events.MAX_MESSAGE_BYTES,
            "batch_messages": events.MAX_BATCH,
            "batch_bytes": events.MAX_BATCH_BYTES,
            "renewals": requests.MAX_RENEWALS,
        },
        "seconds": {
            "hold": timing.DEFAULT_HOLD_SECONDS,
            "longest_hold": timing.MAX_HOLD_SECONDS,
            "answer": timing.ANSWER_SECONDS,
            "longest_retry": timing.MAX_RETRY_SECONDS,
        },
    }


def written() -> str:
    """Return the text of the file."""
    return json.dumps(vectors(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="ascii")
