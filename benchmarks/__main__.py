"""``make bench``: every ratio, with what it should be."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.processor import LIMITS, added_cost

if __name__ == "__main__":
    print("Cost added to one LLM call by TokenSpanProcessor: three matching budgets, metrics,")
    print("attributes; against a bare SDK span (start, 3 attributes, 3 set, end). CPU time of the")
    print("calling thread, medians of 25 interleaved rounds of 1,000 calls.\n")
    with tempfile.TemporaryDirectory() as place:
        for name, ratio in added_cost(Path(place)).items():
            limit = f"   (at most {LIMITS[name]})" if name in LIMITS else ""
            print(f"  {name:24}{ratio:8.2f}{limit}")
