"""Forget: nothing in any file of a store names the person, and what was used stays."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm.ledger import forget as forgetting_payers
from otel_atm.ledger.lease_store import LedgerError
from otel_atm.store import forget as forgetting
from otel_atm.store.forget import forget
from otel_atm.store.lock import let_go, open_locked
from otel_atm.store.paths import StorePaths
from tests.store.conftest import Writer, assert_roll_ups_add_up, query

ANN = "ann-7c1f93"
SESSION = "session-of-7c1f93"
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5.1",
}
ROOT = Path(atm.__file__).parent.parent


def traces(path: Path, *texts: str) -> list[str]:
    """Files of a store in which one of the texts is."""
    files = [file for file in path.parent.rglob(f"{path.name}*/*") if file.is_file()]
    files += [file for file in path.parent.glob(f"{path.name}*") if file.is_file()]
    return sorted(
        file.name for file in files if any(text.encode() in file.read_bytes() for text in texts)
    )


def totals(path: Path) -> Any:
    return query(
        path,
        "select sum(calls)::bigint, sum(total_tokens)::bigint, sum(cost_usd) from usage_events",
    )


@pytest.fixture
def met(writer: Writer) -> Writer:
    """The person has made calls, as others have."""
    for _ in range(3):
        writer.call((10, 5), user=ANN, session=SESSION, tags=[f"tag-of-{ANN}"], boss=f"of-{ANN}")
        writer.call((7, 8), user="bob", session="s2", tags=["b"], department="finance", team="ml")
    writer.call(user=ANN, error="openai.RateLimitError")
    writer.drain()
    return writer


def test_rows_become_anonymous_and_what_they_used_stays(met: Writer, path: Path) -> None:
    before = totals(path)
    bobs = query(path, "from usage_events where user_id = 'bob' order by event_id")
    done = forget(met.paths, ANN)
    assert (done.events, done.complete) == (4, True)
    assert done.rollups > 0
    assert totals(path) == before
    assert query(path, "from usage_events where user_id = 'bob' order by event_id") == bobs
    rest = query(
        path,
        "select distinct user_id, session_id, trace_id, span_id, tags, "
        "attributes::json::varchar as attributes from usage_events where user_id is null "
        "order by all",
    )
    nothing = dict.fromkeys(("user_id", "session_id", "trace_id", "span_id"))
    assert rest == [
        {**nothing, "tags": [], "attributes": '{"error.type":"openai.RateLimitError"}'},
        {**nothing, "tags": [], "attributes": "{}"},
    ]
    assert_roll_ups_add_up(path)


def test_what_two_people_used_is_one_row_of_nobody(met: Writer, path: Path) -> None:
    met.call(user="cid")
    met.drain()
    forget(met.paths, ANN)
    assert forget(met.paths, "cid").rollups == 2  # a minute and an hour
    hours = "select calls from usage_1h where user_id is null and status = 'ok'"
    assert query(path, hours) == [{"calls": 4}]
    assert_roll_ups_add_up(path)


def test_no_byte_of_any_file_names_the_person(met: Writer, path: Path) -> None:
    assert traces(path, ANN, SESSION) == [path.name]
    forget(met.paths, ANN)
    assert traces(path, ANN, SESSION) == []


def test_what_is_still_spooled_is_anonymous_too(met: Writer, path: Path) -> None:
    met.call(user=ANN)
    met.spool.seal()
    assert forget(met.paths, ANN).events == 5
    assert traces(path, ANN) == []


def test_again_there_is_nothing_to_forget(met: Writer, path: Path) -> None:
    forget(met.paths, ANN)
    done = forget(met.paths, ANN)
    assert (done.events, done.rollups, done.accounts) == (0, 0, 0)


def test_a_stranger_changes_nothing(met: Writer, path: Path) -> None:
    before = query(path, "from usage_events order by event_id")
    assert forget(met.paths, "nobody").events == 0
    assert query(path, "from usage_events order by event_id") == before


def test_a_late_correction_does_not_bring_the_person_back(writer: Writer, path: Path) -> None:
    span = writer.start(user=ANN)
    writer.lose()
    writer.drain()
    forget(writer.paths, ANN)
    writer.end(span, (5, 5))
    writer.drain()
    assert query(path, "select user_id, count(*) as n from usage_events group by all") == [
        {"user_id": None, "n": 1}
    ]
    assert_roll_ups_add_up(path)
    forget(writer.paths, "anybody")  # compacts
    assert traces(path, ANN) == []


def test_a_segment_that_comes_back_does_not_either(met: Writer, path: Path, tmp_path: Path) -> None:
    met.call(user=ANN)
    met.spool.seal()
    segment = met.segment()
    shutil.copy(segment, tmp_path / "kept")
    forget(met.paths, ANN)
    shutil.copy(tmp_path / "kept", segment.with_name(f"0-{segment.name}"))
    assert met.drain() == 0
    assert query(path, f"from usage_events where user_id = '{ANN}'") == []


def test_budgets_that_name_the_person_are_not_named(
    writers: Callable[..., Writer], path: Path
) -> None:
    writer = writers(
        f"1 token / day where user={ANN}", atm.Budget("1 token / day", action="shadow", name="all")
    )
    for user in (ANN, "bob"):
        for _ in range(2):
            try:
                writer.call(user=user)
            except atm.TokenQuotaExceeded:
                writer.clock.advance(2)
    writer.drain()
    forget(writer.paths, ANN)
    assert traces(path, ANN) == []
    assert query(path, "select distinct budget from usage_events order by 1") == [
        {"budget": "forgotten"},
        {"budget": None},
    ]
    would = query(path, "select distinct attributes.would_refuse as would from usage_events")
    assert {row["would"] for row in would} == {None, "all"}


@pytest.mark.parametrize("user", ['a"b', "it's", "ünï,cödé", "a\nb", "\ud800lone", "x" * 2_000])
def test_ids_of_any_kind(writer: Writer, path: Path, user: str) -> None:
    writer.call(user=user)
    writer.drain()
    assert forget(writer.paths, user).events == 1
    assert query(path, "select user_id from usage_events") == [{"user_id": None}]


def test_attributes_of_metrics_are_emptied(met: Writer, path: Path) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("drop table if exists metric_points")
        connection.execute(
            "create table metric_points as select unnest([1, 2]) as value, "
            "unnest(?::varchar[])::json::variant as attributes",
            [[f'{{"user": "{ANN}", "n": 1}}', '{"user": "bob"}']],
        )
    forget(met.paths, ANN)
    found = query(path, "select attributes::json::varchar as it from metric_points order by value")
    assert found == [{"it": '{"n":1}'}, {"it": '{"user":"bob"}'}]
    assert traces(path, ANN) == []


class TestSegments:
    """What is beside the file."""

    def test_lines_that_were_kept_aside_are_deleted_and_those_of_others_stay(
        self, met: Writer, path: Path
    ) -> None:
        met.call(user="bob")
        met.call(user=ANN)
        met.call(user="bob")
        met.spool.seal()
        bad = met.segment().with_suffix(".bad")
        met.segment().rename(bad)
        lines = bad.read_bytes().splitlines(keepends=True)
        done = forget(met.paths, ANN)
        assert done.segments == 2
        assert bad.read_bytes() == b"".join([*lines[:2], lines[4]])
        assert bad.stat().st_mode & 0o777 == 0o600
        assert traces(path, ANN) == []

    def test_it_waits_for_a_program_that_is_writing(
        self, met: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stranger = met.paths.spool / "1-1-stranger.segment"
        descriptor = open_locked(stranger, os.O_RDWR | os.O_CREAT)
        assert descriptor is not None

        def let_it_finish(_: float) -> None:
            let_go(descriptor)  # it is empty, so the next drain deletes it

        monkeypatch.setattr(forgetting.time, "sleep", let_it_finish)
        assert forget(met.paths, ANN).complete

    def test_one_that_does_not_let_go_is_named(self, met: Writer) -> None:
        stranger = met.paths.spool / "1-1-stranger.segment"
        descriptor = open_locked(stranger, os.O_RDWR | os.O_CREAT)
        assert descriptor is not None
        done = forget(met.paths, ANN, patience_s=0)
        let_go(descriptor)
        assert (done.waiting, done.complete) == ((stranger,), False)


PROGRAM = """
import sys
from opentelemetry.sdk.trace import TracerProvider
import otel_atm as atm

provider = TracerProvider()
provider.add_span_processor(
    atm.TokenSpanProcessor(
        ["500 tokens / minute per user", "9000 tokens / session", "900 tokens / day per team"],
        store=sys.argv[1],
    )
)
tracer = provider.get_tracer("program")

def call(user, session):
    with atm.context(user=user, session=session, team="ml"):
        span = tracer.start_span("chat", attributes={
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5.1",
        })
    span.set_attribute("gen_ai.usage.input_tokens", 10)
    span.end()

for line in sys.stdin:
    call(*line.split())
    print("called", flush=True)
if len(sys.argv) > 2:
    __import__("os")._exit(0)
provider.shutdown()
"""


class Program:
    """A program of its own, with budgets, that calls when it is told to."""

    def __init__(self, path: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), *arguments],
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, user: str, session: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(user, session, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "called\n"

    def end(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


@pytest.fixture
def programs(path: Path) -> Iterator[Callable[..., Program]]:
    made: list[Program] = []

    def make(*arguments: str) -> Program:
        made.append(Program(path, *arguments))
        return made[-1]

    yield make
    for program in made:
        program.end()


class TestLedger:
    """The accounts beside the store."""

    def payers(self, path: Path) -> set[str]:
        with sqlite3.connect(f"{path}.ledger") as db:
            return {payer for (payer,) in db.execute("select payer from bucket")}

    def test_the_persons_accounts_are_deleted_and_others_stay(
        self, programs: Callable[..., Program], path: Path
    ) -> None:
        program = programs()
        program.call(ANN, SESSION)
        program.call("bob", "s2")
        program.call("bob", "s3")
        program.end()
        assert traces(path, ANN) == [path.name, f"{path.name}.ledger"]
        done = forget(StorePaths.of(path), ANN)
        assert (done.accounts, done.complete) == (2, True)
        assert self.payers(path) == {'["bob"]', '["s2"]', '["s3"]', '["ml"]'}
        assert traces(path, ANN, SESSION) == []

    def test_sessions_are_known_also_after_a_ledger_that_failed(
        self, programs: Callable[..., Program], path: Path, tmp_path: Path
    ) -> None:
        program = programs()
        program.call(ANN, SESSION)
        program.end()
        (tmp_path / "text.ledger").write_text("no ledger")
        with pytest.raises(LedgerError):
            forget(StorePaths.of(path), ANN, ledger=tmp_path / "text.ledger")
        assert forget(StorePaths.of(path), ANN).accounts == 2
        assert traces(path, ANN, SESSION) == []

    def test_what_a_killed_program_has_left_is_settled_and_forgotten(
        self, programs: Callable[..., Program], path: Path
    ) -> None:
        program = programs("dies")
        program.call(ANN, SESSION)
        program.end()
        assert any(name.endswith(".names") for name in traces(path, ANN))
        assert forget(StorePaths.of(path), ANN).complete
        assert traces(path, ANN, SESSION) == []

    def test_a_running_program_goes_on_and_is_named(
        self, programs: Callable[..., Program], path: Path
    ) -> None:
        program = programs()
        program.call(ANN, SESSION)
        program.call("bob", "s2")
        done = forget(StorePaths.of(path), ANN)
        assert [file.suffix for file in done.naming] == [".names"]
        assert not done.complete
        program.call(ANN, SESSION)
        program.call("bob", "s2")
        program.end()
        assert query(path, "select sum(calls)::bigint as n from usage_events") == [{"n": 4}]
        assert forget(StorePaths.of(path), ANN).complete
        assert traces(path, ANN, SESSION) == []

    def test_a_session_of_others_too_keeps_its_account(
        self, programs: Callable[..., Program], path: Path
    ) -> None:
        program = programs()
        program.call(ANN, "shared")
        program.call("bob", "shared")
        program.end()
        forget(StorePaths.of(path), ANN)
        assert '["shared"]' in self.payers(path)

    def test_a_budget_that_names_the_person_leaves(self, path: Path) -> None:
        processor = atm.TokenSpanProcessor([f"500 tokens / day where user={ANN}"], store=path)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        with atm.context(user=ANN):
            provider.get_tracer("t").start_span("chat", attributes=CHAT).end()
        processor.retire()
        assert forget(StorePaths.of(path), ANN).accounts == 1
        assert traces(path, ANN) == []

    def test_a_ledger_of_another_name(
        self, programs: Callable[..., Program], path: Path, tmp_path: Path
    ) -> None:
        program = programs()
        program.call(ANN, SESSION)
        program.end()
        other = tmp_path / "elsewhere.ledger"
        Path(f"{path}.ledger").rename(other)
        assert forget(StorePaths.of(path), ANN, ledger=other).accounts == 2
        assert not Path(f"{path}.ledger").exists()

    def test_a_log_that_is_read_all_the_time_is_an_error(
        self, programs: Callable[..., Program], path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = programs()
        program.call(ANN, SESSION)
        program.end()
        monkeypatch.setattr(forgetting_payers, "_PATIENCE_S", 0.2)
        reader = sqlite3.connect(f"{path}.ledger", isolation_level=None)
        reader.execute("begin")
        reader.execute("select * from bucket").fetchall()
        with pytest.raises(atm.AtmError, match="is read all the time"):
            forget(StorePaths.of(path), ANN)
        reader.close()
        assert forget(StorePaths.of(path), ANN).complete
        assert traces(path, ANN, SESSION) == []


class TestMistakes:
    @pytest.mark.parametrize("user", ["", None, 7])
    def test_whom_is_quoted(self, met: Writer, user: Any) -> None:
        with pytest.raises(atm.ConfigurationError) as raised:
            forget(met.paths, user)
        assert str(raised.value) == (
            f"user={user!r}: expected a user's id, as in the column user_id"
        )

    def test_without_a_store_there_is_nobody(self, writer: Writer) -> None:
        with pytest.raises(atm.StoreError, match="does not exist: there is nobody to forget"):
            forget(writer.paths, ANN)


def test_killed_within_the_next_time_finishes(
    met: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "compact", die)
        with pytest.raises(KeyboardInterrupt):
            forget(met.paths, ANN)
    assert query(path, f"from usage_events where user_id = '{ANN}'") == []
    forget(met.paths, ANN)
    assert traces(path, ANN) == []
