"""Examples that run beside others: a service and its notebook, workers of gunicorn, data frames."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jupytext
import nbclient
import nbformat
import pytest
import requests

import otel_atm as atm
from examples.gunicorn_shop import COMMAND
from otel_atm.testing import ProviderServer

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "live.ipynb"
PATIENCE_S = 60


@contextmanager
def started(command: list[str], ready: str, **settings: str) -> Iterator[str]:
    """A program; the line in which it says that it is ready."""
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        assert program.stdout is not None
        try:
            for line in program.stdout:
                if ready in line:
                    break
            else:
                pytest.fail(f"{command} has ended")
            yield line
        finally:
            program.terminate()
            try:
                program.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                program.kill()


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with atm.connect(path) as db:
        return db.sql(sql).fetchall()


def test_four_workers_of_gunicorn_share_a_budget_and_each_call_is_in_the_file_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tokens.duckdb"
    command = [*COMMAND, "--bind", "127.0.0.1:0", "--no-control-socket"]
    with (
        ProviderServer() as provider,
        started(
            command,
            "Listening at: ",
            ATM_DB=str(path),
            OPENAI_BASE_URL=provider.openai_url,
            OPENAI_API_KEY="unused",
        ) as line,
    ):
        url = line.split("Listening at: ")[1].split()[0]

        def ask(user: str) -> tuple[int, str]:
            answer = requests.get(url, headers={"x-user": user}, timeout=PATIENCE_S)
            return answer.status_code, answer.headers["X-Worker"]

        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(ask, ["ann", "bob"] * 40))
        reached = provider.requests
    assert Counter(status for status, _ in answers) == {200: 20, 429: 60}
    assert len({worker for _, worker in answers}) > 1
    assert reached == 20
    assert query(
        path, "select user_id, decision, sum(calls) from usage_events group by all order by all"
    ) == [
        ("ann", "allowed", 10),
        ("ann", "refused", 30),
        ("bob", "allowed", 10),
        ("bob", "refused", 30),
    ]


def test_a_notebook_sees_what_a_running_service_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.duckdb"
    monkeypatch.setenv("ATM_DB", str(path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with started([sys.executable, str(EXAMPLES / "service.py")], "writing to "):
        notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
        until = time.monotonic() + PATIENCE_S
        while not path.exists():
            assert time.monotonic() < until
            time.sleep(0.1)  # it drains within a second
        nbclient.NotebookClient(notebook, timeout=120).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    seen = next(out.text for out in outputs if " calls, then " in out.get("text", ""))
    before, after = (int(word) for word in seen.split() if word.isdigit())
    assert after > before
    texts = [out.data.get("text/plain", "") for out in outputs if "data" in out]
    assert all(any(user in text for text in texts[-2:]) for user in ("ann", "bob", "cid"))
    assert any(out.get("text") == "0.0 s behind\n" for out in outputs)


def test_the_notebook_is_committed_without_outputs_and_says_what_its_text_says() -> None:
    """If this fails: ``jupytext --sync examples/live.ipynb``."""
    notebook = jupytext.read(NOTEBOOK)
    text = jupytext.read(NOTEBOOK.with_suffix(".py"))
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in text.cells
    ]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


def test_pandas_polars_and_ibis_see_the_same_tokens() -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "data_frames.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stderr == ""
    assert [line.split() for line in done.stdout.splitlines()[2:4]] == [
        ["ml", "72.0", "72.0"],
        ["ops", "72.0", "NaN"],
    ]
    assert "│ ml   ┆ 72      ┆ 72           │" in done.stdout
    assert [line.split() for line in done.stdout.splitlines()[-2:]] == [
        ["0", "ml", "2", "18.0"],
        ["1", "ops", "1", "18.0"],
    ]
