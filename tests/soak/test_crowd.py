"""A crowd: programs write, others read, all at once, and nobody loses anything or gets an error."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.soak import children
from tests.soak.conftest import acknowledged, assert_exactly_once

WRITERS = 8
READERS = 2


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.soak)])
def test_eight_write_and_three_read_and_nothing_is_lost_doubled_or_in_the_way(
    start: Callable[..., BaseProcess], tmp_path: Path, seconds: int
) -> None:
    path, acks = tmp_path / "tokens.duckdb", tmp_path / "acks"
    acks.mkdir()
    writers = [
        start(children.write_for, str(path), acks / str(seed), seed, seconds)
        for seed in range(WRITERS)
    ]
    until = time.monotonic() + seconds
    while not (path.exists() or path.with_name("tokens.duckdb.spool").exists()):
        assert time.monotonic() < until
        time.sleep(0.01)  # until there is something to read
    counts = [tmp_path / f"counts{number}" for number in range(READERS)]
    readers = [start(children.read_for, str(path), each, seconds) for each in counts]
    plain = start(children.read_plainly_for, str(path), tmp_path / "plain", seconds)
    for process in (*writers, *readers, plain):
        process.join(seconds + 60)
        assert process.exitcode == 0, process
    for each in counts:
        _assert_grows(each)
    events = acknowledged(acks.iterdir())
    print(f"  {len(events):,} events; DuckDB alone: {(tmp_path / 'plain').read_text()}")  # noqa: T201
    assert len(events) > 100 * WRITERS
    assert_exactly_once(path, events, unheard=0)


def _assert_grows(counts: Path) -> None:
    """What one reader has seen never shrinks, has nothing twice, and its parts agree."""
    seen = [
        tuple(map(int, line.split()))
        for line in counts.read_text().splitlines()
        if "None" not in line
    ]
    assert seen  # on a busy machine perhaps only once
    assert seen == sorted(seen)
    assert [row for row in seen if row[0] != row[1] or row[2] != row[3]] == []
