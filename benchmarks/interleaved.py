"""Ratios on a noisy machine: cases run in turn, round after round; their medians are divided."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping


def measure(
    cases: Mapping[str, Callable[[int], None]], *, rounds: int = 25, calls: int = 1_000
) -> dict[str, list[float]]:
    """CPU seconds per call of each case, one number a round.

    Args:
        cases: each takes the number of calls to make.
        rounds: how often all of them run, one after the other.
        calls: per round and case.
    """
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for run in cases.values():
        run(calls // 4)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in cases.items():
                started = time.thread_time()
                run(calls)
                samples[name].append((time.thread_time() - started) / calls)
    finally:
        gc.enable()
    return samples


def medians(samples: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each case."""
    return {name: statistics.median(values) for name, values in samples.items()}
