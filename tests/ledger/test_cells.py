from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from otel_atm.ledger.cells import SCRATCH, Cells, Remains, recover
from otel_atm.ledger.grants import Bucket


def bucket(number: int) -> Bucket:
    return Bucket('"all"', f'["user{number}"]', 0, 60, 0)


def remains(folder: Path) -> list[list[Remains]]:
    return [dead.remains for dead in recover(folder)]


def test_what_a_dead_process_had_committed_is_found(tmp_path: Path) -> None:
    cells = Cells(tmp_path / "nodes")
    cells.values[cells.name(bucket(1), birth=1, epoch=0, spent=0)] = 300
    cells.name(bucket(2), birth=2, epoch=3, spent=77)
    cells.abandon()
    assert remains(tmp_path / "nodes") == [
        [Remains(bucket(1), 1, 0, 300), Remains(bucket(2), 2, 3, 77)]
    ]


def test_the_living_are_left_alone(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    cells.name(bucket(1), 1, 0, 5)
    assert remains(tmp_path) == []
    cells.leave()
    assert list(tmp_path.iterdir()) == []


def test_the_dead_are_found_until_they_are_removed(tmp_path: Path) -> None:
    Cells(tmp_path).abandon()
    assert [dead.node for dead in recover(tmp_path)] == [dead.node for dead in recover(tmp_path)]
    for dead in recover(tmp_path):
        dead.remove()
    assert list(tmp_path.iterdir()) == []


def test_cells_grow_and_keep_what_they_say(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    places = [cells.name(bucket(number), number + 1, 0, number) for number in range(2_000)]
    assert SCRATCH not in places
    cells.values[places[0]] = -9
    cells.abandon()
    ((first, *_, last),) = remains(tmp_path)
    assert (first.spent, last.spent, last.bucket) == (-9, 1_999, bucket(1_999))


def test_cells_are_used_again_under_another_name(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    first = cells.name(bucket(1), 1, 0, 100)
    cells.free([first])
    assert cells.name(bucket(2), 2, 0, 5) == first
    cells.abandon()
    assert remains(tmp_path) == [[Remains(bucket(2), 2, 0, 5)]]


def test_a_freed_cell_is_nobodys(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    cells.free([cells.name(bucket(1), 1, 0, 100)])
    cells.abandon()
    assert remains(tmp_path) == [[]]


def test_names_of_many_windows_do_not_pile_up(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    kept = cells.name(bucket(0), 1, 0, 7)
    for number in range(3_000):
        cells.free([cells.name(bucket(number), number + 2, 0, 1)])
    (names,) = tmp_path.glob("*.names")
    assert len(names.read_text().splitlines()) < 2_100
    assert kept != SCRATCH
    cells.abandon()
    assert remains(tmp_path) == [[Remains(bucket(0), 1, 0, 7)]]


def test_a_name_that_was_not_written_whole_is_not_read(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    cells.name(bucket(1), 1, 0, 7)
    cells.abandon()
    (names,) = tmp_path.glob("*.names")
    with names.open("a") as file:
        file.write('[2,1,0,"al')
    assert remains(tmp_path) == [[Remains(bucket(1), 1, 0, 7)]]


def test_a_forked_child_does_not_keep_its_dead_parent_alive(tmp_path: Path) -> None:
    says, hears = os.pipe()
    parent = os.fork()
    if not parent:
        Cells(tmp_path).name(bucket(1), 1, 0, 5)
        child = os.fork()
        if not child:
            os.write(hears, f"{os.getpid()}\n".encode())
            signal.pause()
        os.kill(os.getpid(), signal.SIGKILL)
    child = int(os.read(says, 20))
    os.waitpid(parent, 0)
    try:
        assert remains(tmp_path) == [[Remains(bucket(1), 1, 0, 5)]]
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(says)
        os.close(hears)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("a file")
    with pytest.raises(OSError, match="nodes"):
        Cells(tmp_path / "nodes")
