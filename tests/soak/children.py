"""What runs in processes of its own: they are forked from a server that has imported this."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import genai_prices  # noqa: F401 - so that no child has to

import otel_atm as atm
from otel_atm import faces  # noqa: F401 - the same
from otel_atm.store import spool
from tests.program import Program

#: A child that has not died after so many calls has not come by where it should.
MOST_CALLS = 3_000


def program_of(store: str, acks: Path, chance: random.Random) -> Program:
    """One that writes to this store and to this file."""
    processor = atm.TokenSpanProcessor(store=store, ledger="memory", guards=False)
    return Program(processor, acks, chance)


def die() -> NoReturn:
    """As by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def die_soon(chance: random.Random, most_s: float) -> None:
    """By the system's timer, wherever the process is then, also in the midst of DuckDB."""
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, most_s))


class Fate:
    """Says when a child dies.

    Args:
        point: of `POINTS`.
    """

    def __init__(self, point: str, chance: random.Random) -> None:
        most, self._most_s = POINTS[point]
        self._left, self._chance = chance.randint(1, most), chance
        self._place = point.replace("amid", "before")

    def strikes(self, place: str) -> bool:
        """Whether this is where, and now is when."""
        self._left -= place == self._place
        return place == self._place and self._left == 0

    def at(self, place: str) -> None:
        """Die here, or soon, if it strikes."""
        if self.strikes(place):
            if not self._most_s:
                die()
            die_soon(self._chance, self._most_s)


class Connection:
    """One of DuckDB's, that fate watches."""

    def __init__(self, real: Any, fate: Fate) -> None:
        self._real, self._fate = real, fate

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in ("execute", "commit", "close"):
            return real

        def run(*args: Any, **more: Any) -> Any:
            what = "commit" if args and str(args[0]).lower().startswith("commit") else name
            self._fate.at(f"before {what}")
            result = real(*args, **more)
            self._fate.at(f"after {what}")
            return result

        return run


#: Where a child dies → how often it may come by before it does, and how soon after that, in
#: seconds; 0: at once.
POINTS = {
    "before append": (60, 0.0),
    "half append": (60, 0.0),
    "after append": (60, 0.0),
    "amid append": (60, 2e-4),
    "begin": (2, 0.0),
    "before seal": (3, 0.0),
    "after seal": (3, 0.0),
    "before open": (2, 0.0),
    "amid open": (2, 0.02),
    "after open": (2, 0.0),
    "before execute": (60, 0.0),
    "amid execute": (60, 0.01),
    "before commit": (3, 0.0),
    "amid commit": (3, 0.01),
    "after commit": (3, 0.0),
    "amid close": (2, 0.02),
    "after close": (2, 0.0),
    "before delete": (2, 0.0),
    "after delete": (2, 0.0),
    "anywhere": (60, 0.2),
}


def be_killed(store: str, acks: Path, seed: int, point: str) -> None:
    """Make calls until it comes by `point` for the n-th time, and die there."""
    chance = random.Random(seed)
    fate = Fate(point, chance)
    program = program_of(store, acks, chance)
    _watch(fate)
    for _ in range(MOST_CALLS):
        program.call()
        fate.at("anywhere")
        if chance.random() < 1 / 15:
            program.processor.force_flush()
    os._exit(0)


def _watch(fate: Fate) -> None:
    """From now on fate sees whatever happens to a store in this process."""
    write, unlink, open_, end = os.write, os.unlink, os.open, spool._Segment.end
    connect = duckdb.connect

    def watched_write(descriptor: int, data: bytes) -> int:
        fate.at("before append")
        if fate.strikes("half append"):
            write(descriptor, data[: len(data) // 2])
            die()
        written = write(descriptor, data)
        fate.at("after append")
        return written

    def watched_unlink(path: Any, **more: Any) -> None:
        fate.at("before delete")
        unlink(path, **more)
        fate.at("after delete")

    def watched_open(path: Any, flags: int, *args: Any, **more: Any) -> int:
        descriptor = open_(path, flags, *args, **more)
        if flags & os.O_EXCL:
            fate.at("begin")
        return descriptor

    def watched_end(segment: Any) -> None:
        fate.at("before seal")
        end(segment)
        fate.at("after seal")

    def watched_connect(*args: Any, **more: Any) -> Any:
        fate.at("before open")
        connection = Connection(connect(*args, **more), fate)
        fate.at("after open")
        return connection

    changes: dict[Any, dict[str, Any]] = {
        os: {"write": watched_write, "unlink": watched_unlink, "open": watched_open},
        spool._Segment: {"end": watched_end},
        duckdb: {"connect": watched_connect},
    }
    for owner, names in changes.items():
        for name, value in names.items():
            setattr(owner, name, value)


def write_for(store: str, acks: Path, seed: int, seconds: float) -> None:
    """Make calls for so long, then end in the usual way."""
    chance = random.Random(seed)
    program = program_of(store, acks, chance)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(chance.randrange(40)):
            program.call()
        if chance.random() < 1 / 50:
            program.processor.force_flush()
        time.sleep(0.02)
    program.processor.shutdown()


def read_for(store: str, counts: Path, seconds: float) -> None:
    """Query for so long; note how many rows and how many different ones there were each time."""
    logging.getLogger("otel_atm").setLevel(logging.CRITICAL)  # that it lacks the newest is no error
    until = time.monotonic() + seconds
    with counts.open("w") as notes, atm.connect(store) as db:
        while time.monotonic() < until:
            found = db.sql(
                "select count(*), count(distinct event_id), sum(calls), "
                "(select sum(calls) from usage_1m) from usage_events"
            )
            print(*found.fetchall()[0], file=notes, flush=True)


def read_plainly_for(store: str, notes: Path, seconds: float) -> None:
    """Open the file with DuckDB alone, again and again; note what came of it."""
    until = time.monotonic() + seconds
    read: Counter[str] = Counter()
    while time.monotonic() < until:
        try:
            with duckdb.connect(store, read_only=True) as connection:
                connection.execute("select count(*) from usage_events").fetchall()
            read["read"] += 1
        except duckdb.Error as error:
            read[str(error)[:60]] += 1
        time.sleep(0.005)
    notes.write_text(repr(dict(read)))
