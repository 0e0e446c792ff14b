"""`otel-atm prune`, `compact`, `export` and `forget`."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

import otel_atm as atm
from tests.cli.conftest import Run
from tests.cli.test_commands import python

ROOT = Path(atm.__file__).parents[1]
MADE = """
import os, sys
from datetime import UTC, datetime
from opentelemetry.sdk.trace import TracerProvider
import otel_atm as atm
from otel_atm.testing import ManualClock

clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
provider = TracerProvider()
provider.add_span_processor(atm.TokenSpanProcessor(store=sys.argv[1], clock=clock))
for user in ("ann", "bob", "ann"):
    with atm.context(user=user, session=f"of {user}"):
        with provider.get_tracer("t").start_as_current_span(
            "chat", attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
        ) as span:
            span.set_attribute("gen_ai.usage.input_tokens", 11)
    clock.advance(86_400)
provider.shutdown()
"""
HOLDER = """
import fcntl, os, sys
os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def db(tmp_path: Path, run: Run) -> Path:
    """A store with a call on each of the first three days of March 2026."""
    python("-c", MADE, str(tmp_path / "tokens.duckdb"))
    return tmp_path / "tokens.duckdb"


def tokens(path: Path) -> list[Any]:
    with atm.connect(path) as reader:
        found = reader.sql(
            "select user_id, sum(input_tokens)::bigint from usage_events group by all order by all"
        )
        return found.fetchall()


class TestPrune:
    def test_it_says_what_was_deleted_and_since_when_rows_are_kept(
        self, run: Run, db: Path
    ) -> None:
        ran = run("prune", "--events", "1d", "--rollups", "1000 years")
        assert ran.exit_code == 0
        assert re.fullmatch(
            r"3 rows deleted from usage_events: kept since 20\d\d-\d\d-\d\d \d\d:00 UTC\n"
            r"0 rows deleted from roll-ups: kept since 10\d\d-\d\d-\d\d 00:00 UTC\n",
            ran.stdout,
        )
        assert tokens(db) == []

    def test_in_json(self, run: Run, db: Path) -> None:
        said = json.loads(run("prune", "--events", "2y", "--json").stdout)
        since = said.pop("events_since")
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT00:00:00Z", since)
        assert said == {"database": str(db), "events": 0, "rollups": 0, "points": 0,
                        "rollups_since": None}  # fmt: skip

    def test_the_environment_may_say_how_long(
        self, run: Run, db: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ATM_KEEP_EVENTS", "1d")
        assert json.loads(run("prune", "--json").stdout)["events"] == 3

    def test_points_of_metrics_are_told_where_there_are_any(self, run: Run, db: Path) -> None:
        exporter = atm.DuckDBMetricExporter(db)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
        meters = MeterProvider(metric_readers=[reader])
        meters.get_meter("t").create_counter("c").add(1)
        meters.force_flush()
        meters.shutdown()
        run("drain")
        with duckdb.connect(db) as connection:
            connection.execute("update metric_points set time = '2026-01-01'")
        assert run("prune", "--rollups", "30d").stdout.endswith("1 point of metrics deleted\n")

    def test_without_an_age_it_is_called_wrongly(self, run: Run, db: Path) -> None:
        ran = run("prune")
        assert ran.exit_code == 2
        assert "nothing is too old: give --events AGE, --rollups AGE or both" in ran.stderr

    def test_a_wrong_age_is_quoted(self, run: Run, db: Path) -> None:
        ran = run("prune", "--events", "90")
        assert ran.exit_code == 2
        assert "events='90': expected an age" in ran.stderr
        assert len(tokens(db)) == 2


class TestCompact:
    def test_it_says_the_sizes(self, run: Run, db: Path) -> None:
        ran = run("compact")
        assert ran.exit_code == 0
        assert re.fullmatch(r"tokens.duckdb: \d\.\d MB before, \d\.\d MB after\n", ran.stdout)
        assert tokens(db) == [("ann", 22), ("bob", 11)]

    def test_in_json(self, run: Run, db: Path) -> None:
        before = db.stat().st_size
        said = json.loads(run("compact", "--json").stdout)
        assert said == {"database": str(db), "before": before, "after": db.stat().st_size}


class TestExport:
    def test_it_says_what_was_written(self, run: Run, db: Path, tmp_path: Path) -> None:
        assert run("export", "--parquet", "out").stdout == (
            "3 days written to out (3 rows), 0 as they were\n"
        )
        assert run("export", "--parquet", "out").stdout == (
            "0 days written to out (0 rows), 3 as they were\n"
        )
        assert (tmp_path / "out" / "day=2026-03-02" / "usage_events.parquet").exists()

    def test_some_days_of_another_relation_in_json(
        self, run: Run, db: Path, tmp_path: Path
    ) -> None:
        ran = run("export", "--parquet", "out", "--since", "2026-03-02", "--until", "2026-03-02",
                  "--relation", "usage_1m", "--json")  # fmt: skip
        assert json.loads(ran.stdout) == {
            "folder": str(tmp_path / "out"),
            "rows": 1,
            "written": ["2026-03-02"],
            "unchanged": [],
            "kept": [],
        }

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "Missing option '--parquet'"),
            (("--parquet", ""), "'': expected a path"),
            (("--parquet", "out", "--since", "March"), "since='March': expected a day"),
            (("--parquet", "out", "--relation", "rows"), "'rows' is not one of"),
        ],
    )
    def test_it_is_called_wrongly(
        self, run: Run, db: Path, arguments: tuple[str, ...], said: str
    ) -> None:
        ran = run("export", *arguments)
        assert ran.exit_code == 2
        assert said in ran.stderr


class TestForget:
    def test_it_says_what_has_become_anonymous(self, run: Run, db: Path) -> None:
        ran = run("forget", "--user", "ann", "--yes")
        assert ran.exit_code == 0
        assert re.fullmatch(
            r"forgotten: 2 rows of usage_events and \d of roll-ups are anonymous, 0 accounts of "
            r"the ledger and 0 lines that were kept aside are deleted\n"
            r"Parquet files that were exported are not touched\n",
            ran.stdout,
        )
        assert tokens(db) == [("bob", 11), (None, 22)]

    def test_in_json(self, run: Run, db: Path) -> None:
        said = json.loads(run("forget", "--user", "ann", "--yes", "--json").stdout)
        assert (said["database"], said["events"], said["complete"]) == (str(db), 2, True)

    def test_where_nobody_can_be_asked_it_wants_yes(self, run: Run, db: Path) -> None:
        ran = run("forget", "--user", "ann")
        assert ran.exit_code == 2
        assert "Nobody can be asked here: give --yes" in ran.stderr
        assert tokens(db) == [("ann", 22), ("bob", 11)]

    def test_a_ledger_of_another_kind_is_quoted(self, run: Run, db: Path) -> None:
        ran = run("forget", "--user", "ann", "--yes", "--ledger", "redis://host")
        assert ran.exit_code == 2
        assert "redis://host" in ran.stderr

    def test_a_ledger_that_is_not_there_stops_it_before_anything_is_done(
        self, run: Run, db: Path
    ) -> None:
        ran = run("forget", "--user", "ann", "--yes", "--ledger", "sqlite:///typo.ledger")
        assert ran.exit_code == 1
        assert re.search(r"typo\.ledger' does not exist; .* Nothing was changed", ran.stderr)
        assert tokens(db) == [("ann", 22), ("bob", 11)]

    def test_it_says_where_nothing_of_the_user_was_found(self, run: Run, db: Path) -> None:
        ran = run("forget", "--user", "anne", "--yes")
        assert ran.exit_code == 0
        assert ran.stdout == (
            "nothing of the user 'anne' was found in tokens.duckdb, nor in the ledger\n"
        )

    def test_what_a_program_does_not_let_go_of_fails_it(self, run: Run, db: Path) -> None:
        stranger = db.with_name(db.name + ".spool") / "1-1-stranger.segment"
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(stranger)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        holder.stdout.readline()
        ran = run("forget", "--user", "ann", "--yes")
        holder.communicate()
        assert ran.exit_code == 1
        assert f"{stranger}: written by a program that does not let go of it" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [("prune", "--events", "1d"), ("compact",), ("export", "--parquet", "out"),
     ("forget", "--user", "ann", "--yes")],
)  # fmt: skip
def test_without_a_file_it_fails_with_one_sentence(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments, "--db", "gone.duckdb")
    assert ran.exit_code == 1
    assert ran.stdout == ""
    assert re.fullmatch(r"Error: '.*gone\.duckdb' does not exist: .*\n", ran.stderr)
    assert list(Path().iterdir()) == []


class TestOnATerminal:
    """A bar for what takes long, and a question before what cannot be undone."""

    def seen(self, answer: str, *arguments: str) -> tuple[int, str]:
        """Exit code, and what a terminal shows."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "otel_atm.cli", *arguments],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
        )
        os.close(follower)
        os.write(leader, answer.encode())
        shown = b""
        while select.select([leader], [], [], 60)[0]:
            try:
                data = os.read(leader, 4_096)
            except OSError:  # the other end was closed: Linux says so by EIO
                break
            if not data:
                break
            shown += data
        os.close(leader)
        return process.wait(), shown.decode()

    def test_progress_is_shown(self, run: Run, db: Path) -> None:
        for arguments, label in (
            (("prune", "--events", "1000 years"), "deleting"),
            (("export", "--parquet", "out"), "exporting"),
            (("compact",), "compacting"),
        ):
            code, shown = self.seen("", *arguments)
            assert (code, label in shown) == (0, True)

    def test_a_no_changes_nothing(self, run: Run, db: Path) -> None:
        code, shown = self.seen("n\n", "forget", "--user", "ann")
        assert code == 1
        assert "Forget the user 'ann' in tokens.duckdb for good? [y/N]" in shown
        assert tokens(db) == [("ann", 22), ("bob", 11)]

    def test_a_yes_forgets(self, run: Run, db: Path) -> None:
        code, _ = self.seen("y\n", "forget", "--user", "ann")
        assert code == 0
        assert tokens(db) == [("bob", 11), (None, 22)]
