"""Importing costs next to nothing: fresh interpreters, taken in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import otel_atm

ROUNDS = 7


def fresh(program: str) -> Any:
    """What a program prints as JSON in an interpreter of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(otel_atm.__file__).parents[1],
        capture_output=True,
        check=True,
    )
    return json.loads(ran.stdout)


def import_s(module: str) -> float:
    """Seconds that its import takes."""
    return float(
        fresh(
            f"import time; begin = time.perf_counter(); import {module}; "
            "print(time.perf_counter() - begin)"
        )
    )


def test_it_takes_no_longer_than_the_sdk_that_every_user_imports() -> None:
    ours, sdk = [], []
    for _ in range(ROUNDS):
        ours.append(import_s("otel_atm"))
        sdk.append(import_s("opentelemetry.sdk.trace"))
    assert statistics.median(ours) <= 1.3 * statistics.median(sdk)


WATCH = """
import json, sys
events = []
sys.addaudithook(lambda event, args: events.append(event) if event.startswith("socket.") else None)
import otel_atm
{more}
heavy = (
    "duckdb", "opentelemetry", "tiktoken", "plotly", "pandas", "click", "openai",
    "genai_prices", "yaml", "sqlite3",
)
print(json.dumps([events, [name for name in heavy if name in sys.modules]]))
"""


@pytest.mark.parametrize(
    ("more", "loaded"),
    [
        ("", []),
        ("otel_atm.Budget('5 tokens / day'); otel_atm.context(user='ann').__enter__()", []),
        ("[getattr(otel_atm, name) for name in otel_atm.__all__]", ["opentelemetry"]),
    ],
    ids=["imported", "its values used", "every name asked for"],
)
def test_it_opens_no_socket_and_loads_nothing_heavy(more: str, loaded: list[str]) -> None:
    assert fresh(WATCH.format(more=more)) == [[], loaded]
