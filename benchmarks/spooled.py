"""Rows as a busy fleet makes them: in segments, and the same as Arrow tables."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import otel_atm as atm
from otel_atm.gate import Call, Gate, Kind
from otel_atm.ledger import MemoryLedger
from otel_atm.store.paths import StorePaths
from otel_atm.store.spool import Spool
from otel_atm.trouble import Trouble

MODELS = ("gpt-5.1", "gpt-5.1-mini", "claude-opus-4-8", "claude-haiku-4-5", "gemini-2.5-flash")
TEAMS = ("ml", "ops", "sales", "support", "search", "legal", "data", "web")
USERS = 400
#: 2026-01-01, in nanoseconds.
START_NS = 1_767_225_600 * 10**9
_SESSION_CALLS = 20


def _plans(gate: Gate, chance: random.Random) -> Iterator[object]:
    """Calls come in sessions of a user, some hundred of which run at once."""

    def session(number: int) -> list[object]:
        user = min(int(chance.paretovariate(0.8)), USERS)
        scope = atm.Scope(
            user=f"user-{user:04d}",
            team=TEAMS[user % len(TEAMS)],
            app=("bot", "rag", "batch")[user % 3],
            env="prod",
            session=f"session-{number}",
            tags=("nightly",) if user % 5 == 0 else (),
            department=f"d{user % 7}",
        )
        plan = gate.plan(Kind(scope, "openai", chance.choice(MODELS), "chat"))
        return [plan] * chance.randint(1, 2 * _SESSION_CALLS)

    sessions = [session(number) for number in range(200)]
    number = len(sessions)
    while True:
        at = chance.randrange(len(sessions))
        yield sessions[at].pop()
        if not sessions[at]:
            sessions[at] = session(number)
            number += 1


def write(database: Path, rows: int, *, apart_ns: int = 50_000_000, seed: int = 7) -> StorePaths:
    """Spool that many calls of one process, as fast as it can; `apart_ns` lies between two."""
    chance = random.Random(seed)
    paths = StorePaths.of(database)
    trouble = Trouble()
    spool = Spool(paths.spool, trouble)
    gate = Gate([], MemoryLedger())
    plans = _plans(gate, chance)
    at = START_NS
    for number in range(rows):
        at += apart_ns
        plan = next(plans)
        trace, span = chance.getrandbits(128), chance.getrandbits(64)
        call = Call.of(f"{seed:08x}-{number:012d}", plan, (), at, "span", "bench", trace, span)
        call.started_ns, call.ended_ns = at, at + chance.randrange(10**8, 10**10)
        call.ttft_us = chance.randrange(10**5, 10**6) if number % 2 else None
        tokens = chance.randrange(50, 8_000)
        call.tokens = (tokens, chance.randrange(2_000), tokens // 3 if number % 3 else 0, 0, 0)
        spool.append(call)
    spool.seal()
    assert not trouble.counts, trouble.counts
    return paths
