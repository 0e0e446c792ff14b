"""Kill -9: what a program was told is kept, is kept, once, whichever moment it dies at."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import otel_atm as atm
from tests.store import writer
from tests.store.conftest import assert_roll_ups_add_up, query

ROUNDS = 5
WRITERS = 3


class Fleet:
    """Three programs that write to one store, with a new one for each that is killed."""

    def __init__(self, folder: Path) -> None:
        self.path, self.acks = folder / "tokens.duckdb", folder / "acks"
        self.acks.mkdir()
        self.running: list[subprocess.Popen[str]] = []
        self.killed = 0
        self._started = 0

    def start(self) -> None:
        seed = self._started
        self._started += 1
        acks = self.acks / str(seed)
        self.running.append(
            subprocess.Popen(
                [sys.executable, writer.__file__, str(self.path), str(acks), str(seed)],
                env={**os.environ, "PYTHONPATH": str(Path(atm.__file__).parent.parent)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def let_write(self, times: int) -> None:
        """Wait until the oldest one has said that many times that it wrote some events more."""
        output = self.running[0].stdout
        assert output is not None
        for _ in range(times):
            assert output.readline(), "a writer ended by itself"

    def kill(self) -> None:
        """Kill the oldest one, which has been writing for a while."""
        process = self.running.pop(0)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert process.stdout is not None
        process.stdout.close()
        self.killed += 1

    def acknowledged(self) -> list[str]:
        """The ids of all events of which a program was told that they are kept."""
        files = sorted(self.acks.iterdir())
        return [line for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    with ExitStack() as stack:
        stack.callback(lambda: [fleet.kill() for _ in list(fleet.running)])
        yield fleet


def test_each_acknowledged_event_is_in_the_file_exactly_once(fleet: Fleet) -> None:
    chance = random.Random(2026)
    for _ in range(WRITERS):
        fleet.start()
    for _ in range(ROUNDS):
        fleet.let_write(chance.randint(1, 12))
        fleet.kill()
        fleet.start()
    while fleet.running:
        fleet.let_write(1)
        fleet.kill()

    acknowledged = fleet.acknowledged()
    assert len(acknowledged) >= writer.OFTEN * (ROUNDS + WRITERS)
    assert len(set(acknowledged)) == len(acknowledged)
    stored = [row["event_id"] for row in query(fleet.path, "select event_id from usage_events")]
    assert len(set(stored)) == len(stored)
    assert set(acknowledged) <= set(stored)
    # One that was written, but whose writer died before it could say so, for each death.
    assert len(stored) - len(acknowledged) <= fleet.killed
    assert list(fleet.path.with_name("tokens.duckdb.spool").iterdir()) == []
    assert_roll_ups_add_up(fleet.path)
