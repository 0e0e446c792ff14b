"""``make bench``: every ratio, with what it should be."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks import guards, leases, ledger, processor, store


def show(title: str, ratios: Mapping[str, float], limits: Mapping[str, float]) -> None:
    """One table."""
    print(title)
    for name, ratio in ratios.items():
        limit = f"   (at most {limits[name]:g})" if name in limits else ""
        print(f"  {name:46}{ratio:8.2f}{limit}")
    print()


if __name__ == "__main__":
    print("CPU time of the calling thread, medians of 25 interleaved rounds of 1,000 calls.\n")
    with tempfile.TemporaryDirectory() as place:
        show(
            "Cost added to one LLM call by TokenSpanProcessor: three matching budgets, metrics,\n"
            "attributes; against a bare SDK span (start, 3 attributes, 3 set, end).",
            processor.added_cost(Path(place)),
            processor.LIMITS,
        )
        show(
            "Guards, as multiples of a bare span; all with three budgets and the spool.",
            guards.ratios(Path(place)),
            guards.LIMITS,
        )
    show(
        "Three budgets in memory: against `limits` hitting three fixed windows in memory, then\n"
        "against one user under three budgets whose plan is looked up.",
        ledger.ratios(),
        {**ledger.LIMITS, **ledger.SELF_LIMITS},
    )
    show(
        "Four processes on one SQLite ledger: against each with a ledger in memory; and at 100\n"
        "calls a second each.",
        leases.ratios(),
        leases.LIMITS,
    )
    show(
        "Memory of 1,000,000 users.",
        {"bytes a user and budget": ledger.bytes_per_user()},
        {"bytes a user and budget": ledger.MOST_BYTES},
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        show(
            "The drain, so many times as fast as making Arrow tables of Python's tuples and\n"
            f"inserting them, {store.ARROW_ROWS:,} rows in a transaction.",
            store.drained(folder),
            {},
        )
        show("Sizes.", store.sizes(folder), store.MOST)
        show(
            "Roll-ups of 10,000,000 events, so many times as fast as the events; at least 10.",
            store.panels(folder),
            {},
        )
