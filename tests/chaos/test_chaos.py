"""A short run of chaos, with a fixed seed: the whole way from the stack to the verdict."""

from pathlib import Path

import pytest

from .run import run
from .settings import Settings


@pytest.mark.timeout(180)
def test_clients_miss_nothing_when_every_part_is_broken_in_turn(tmp_path: Path) -> None:
    """I1 to I6, I8, I9, I11: forty clients, a fault of almost every kind; `make chaos` does the same for longer."""
    result = run(Settings(seconds=25, clients=40, writers=0, seed=1), tmp_path)
    assert result.is_good, result.text


@pytest.mark.timeout(180)
def test_clients_miss_nothing_when_disks_fill_clocks_move_maintenance_hangs_and_a_host_floods(tmp_path: Path) -> None:
    """I1 to I3, I9, I11: delivery is back within 10 s of each such fault's end, without a person."""
    result = run(Settings(seconds=25, clients=30, writers=0, seed=2, faults="fill slow clock flood"), tmp_path)
    assert result.is_good, result.text


@pytest.mark.timeout(180)
def test_clients_receive_what_an_application_committed_when_its_processes_are_killed(tmp_path: Path) -> None:
    """I1, I2, I5, I11: also nothing that it rolled back, and nothing after a kick while Roots was stopped."""
    result = run(Settings(seconds=12, clients=20, writers=3, seed=3, faults="application kick"), tmp_path)
    assert result.is_good, result.text
