"""A short run of chaos, with a fixed seed: the whole way from the stack to the verdict."""

from pathlib import Path

import pytest

from .run import run
from .settings import Settings


@pytest.mark.timeout(180)
def test_clients_miss_nothing_when_every_part_is_broken_in_turn(tmp_path: Path) -> None:
    """I1 to I6, I8, I9, I11: forty clients, a fault of almost every kind; `make chaos` does the same for longer."""
    result = run(Settings(seconds=25, clients=40, seed=1), tmp_path)
    assert result.is_good, result.text


@pytest.mark.timeout(180)
def test_clients_miss_nothing_when_disks_fill_clocks_move_maintenance_hangs_and_a_host_floods(tmp_path: Path) -> None:
    """I1 to I3, I9, I11: delivery is back within 10 s of each such fault's end, without a person."""
    result = run(Settings(seconds=25, clients=30, seed=2, faults="fill slow clock flood"), tmp_path)
    assert result.is_good, result.text
