"""The schedule of faults: complete, repeatable, and never two faults of one process at once."""

from collections import Counter
from itertools import islice

from .chance import source
from .faults import Kind
from .schedule import rounds


async def _nothing(_target: str) -> None:
    """Break nothing."""


KINDS = [
    Kind(name="kill a", targets=("a",), act=_nothing),
    Kind(name="term a", targets=("a",), act=_nothing),
    Kind(name="kill b", targets=("b-1", "b-2", "b-3"), act=_nothing),
]


def test_rounds_have_each_kind_once_when_two_come_at_once_too() -> None:
    """Every kind comes as often as every other, and its targets in turn."""
    batches = list(islice(rounds(KINDS, source(1, "schedule")), 300))
    counts = Counter(kind.name for batch in batches for kind, _ in batch)
    assert max(counts.values()) - min(counts.values()) <= 1
    targets = [target for batch in batches for kind, target in batch if kind.name == "kill b"]
    assert ["b-1", "b-2", "b-3"] * 20 == targets[:60]
    assert any(len(batch) == 2 for batch in batches)


def test_rounds_never_hit_a_process_twice_at_once() -> None:
    """Two faults of one process would be one."""
    for batch in islice(rounds(KINDS, source(2, "schedule")), 300):
        targets = [target for _, target in batch]
        assert sorted(set(targets)) == sorted(targets)


def test_rounds_are_the_same_when_seed_is() -> None:
    """A run can be repeated by its seed."""
    one, two = (
        [[(kind.name, target) for kind, target in batch] for batch in islice(rounds(KINDS, source(3, "s")), 50)]
        for _ in range(2)
    )
    assert one == two
