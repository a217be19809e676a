"""The test vectors for clients are those of the contracts."""

import re

from roots.contracts.uids import Uids

from .contracts import FILE, vectors, written


def test_file_is_current_when_contracts_change() -> None:
    """`python -m tests.vectors.contracts` writes it."""
    assert written() == FILE.read_text(encoding="ascii")


def test_uids_have_the_form_of_minted_ones_when_clients_read_them() -> None:
    """The vectors have fixed uids; a minted one has as many characters of the same alphabet."""
    named = [position["uid"] for position in vectors()["positions"]]
    for uid in [*named, Uids(b"k" * 32).mint()]:
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", uid)


def test_paths_of_both_kinds_are_in_the_vectors_when_clients_read_them() -> None:
    """Neither a grammar that takes all, nor one that takes none, agrees with them."""
    found = [path["is_path"] for path in vectors()["paths"]]
    assert min(found.count(True), found.count(False)) > 10
