"""gunicorn with four workers, forked from a program that writes and drains already."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

import otel_atm as atm
from tests.store.conftest import assert_roll_ups_add_up, query

ROOT = Path(atm.__file__).parent.parent
WORKERS = 4
PATIENCE_S = 60


@pytest.fixture(params=[["--preload"], []], ids=["preload", "each worker loads"])
def shop(request: pytest.FixtureRequest, path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The arbiter, and where to ask."""
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", *request.param, "--workers", str(WORKERS)),
            *("--bind", "127.0.0.1:0", "--worker-tmp-dir", str(path.parent)),
            *("--no-control-socket", "tests.store.gunicorn_app:app"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "SHOP_STORE": str(path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as arbiter:
        assert arbiter.stderr is not None
        try:
            for line in arbiter.stderr:
                if "Listening at: " in line:
                    url = line.split("Listening at: ")[1].split()[0]
                    break
            else:
                pytest.fail("gunicorn did not start")
            yield arbiter, url
        finally:
            arbiter.kill()


def ask_all(url: str) -> dict[str, list[str]]:
    """Ask until every worker has answered; worker → the events it has made."""
    made: dict[str, list[str]] = {}
    until = time.monotonic() + PATIENCE_S
    while len(made) < WORKERS or min(map(len, made.values())) < 3:
        assert time.monotonic() < until, made
        with urlopen(url, timeout=PATIENCE_S) as answer:
            worker, event = answer.read().decode().split()
        made.setdefault(worker, []).append(event)
    return made


def test_each_call_of_each_worker_is_in_the_file_once_also_of_one_that_is_killed(
    shop: tuple[subprocess.Popen[str], str], path: Path
) -> None:
    arbiter, url = shop
    made = ask_all(url)
    os.kill(int(next(iter(made))), signal.SIGKILL)
    for worker, events in ask_all(url).items():
        made.setdefault(worker, []).extend(events)
    arbiter.terminate()
    _, said = arbiter.communicate(timeout=PATIENCE_S)
    assert "otel-atm:" not in said
    rows = query(path, "select event_id, user_id from usage_events")
    assert sorted(row["event_id"] for row in rows if row["user_id"] == "worker") == sorted(
        event for events in made.values() for event in events
    )
    loaded = Counter(row["user_id"] for row in rows)["arbiter"]
    assert loaded == (1 if "--preload" in arbiter.args else loaded)  # type: ignore[operator]
    assert list(path.with_name("tokens.duckdb.spool").iterdir()) == []
    assert_roll_ups_add_up(path)
