"""Where rows and budgets are kept, in agent-atm's words, and what if that fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm.tokenizers import TokenCount
from tests.facade.conftest import Told


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def init() -> Iterator[Callable[..., atm.Handle]]:
    handles: list[atm.Handle] = []

    def start(**settings: Any) -> atm.Handle:
        provider = TracerProvider(shutdown_on_exit=False)
        handles.append(atm.init(provider=provider, guards=False, **settings))
        return handles[-1]

    yield start
    for handle in handles:
        handle.shutdown()


def rows(path: str, columns: str = "input_tokens") -> list[Any]:
    with atm.connect(path) as db:
        return [row[0] for row in db.sql(f"select {columns} from usage_events").fetchall()]


def test_sqlite_keeps_rows_in_a_duckdb_file_and_budgets_in_sqlite(
    init: Callable[..., atm.Handle], folder: Path
) -> None:
    handle = init(data_manager="sqlite", db_path="agent_atm.db", default_app_id="customer-bot")
    atm.add_user_request(token_count=32)
    handle.force_flush()
    assert rows("agent_atm.duckdb", "app") == ["customer-bot"]
    assert (folder / "agent_atm.duckdb.ledger").exists()


def test_a_file_of_agent_atm_is_not_touched(init: Callable[..., atm.Handle], folder: Path) -> None:
    theirs = sqlite3.connect("agent_atm.db")
    theirs.execute("create table token_events (id integer)")
    theirs.commit()
    theirs.close()
    before = (folder / "agent_atm.db").read_bytes()
    handle = init(data_manager="sqlite", db_path="agent_atm.db")
    atm.add_user_request(token_count=32)
    handle.force_flush()
    assert rows("agent_atm.duckdb") == [32]
    assert (folder / "agent_atm.db").read_bytes() == before


def test_duckdb_keeps_rows_where_it_is_told(init: Callable[..., atm.Handle]) -> None:
    handle = init(data_manager="duckdb", db_path="usage.duckdb")
    atm.add_user_request(token_count=32)
    handle.force_flush()
    assert rows("usage.duckdb") == [32]


def test_memory_keeps_nothing(init: Callable[..., atm.Handle], folder: Path) -> None:
    handle = init(data_manager="memory", budgets=["10 tokens / day"])
    atm.add_user_request(token_count=10)
    with pytest.raises(atm.TokenQuotaExceeded):
        atm.add_user_request(token_count=1)
    handle.force_flush()
    assert list(folder.iterdir()) == []


def test_limits_survive_a_restart(init: Callable[..., atm.Handle]) -> None:
    for asked in (300, 300):
        handle = init(data_manager="sqlite", db_path="agent_atm.db")
        atm.limits.add(atm.Scope(user="ann"), atm.Quota(day_limit=500))
        if asked == 300 and handle.budgets() and handle.budgets()[0].used:
            with pytest.raises(atm.TokenQuotaExceeded):
                atm.add_user_request(token_count=asked, username="ann")
        else:
            atm.add_user_request(token_count=asked, username="ann")
        handle.shutdown()
    assert rows("agent_atm.duckdb", "decision") == ["allowed", "refused"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data_manager": "oracle"}, "data_manager='oracle': expected 'memory', 'sqlite' or"),
        ({"data_manager": "remote"}, "data_manager='remote' comes with the server"),
        ({"data_manager": 5}, "data_manager=5: expected"),
        ({"data_manager": "memory", "db_path": "a.db"}, "db_path='a.db'"),
        ({"data_manager": "sqlite", "store": "a.duckdb"}, "give either"),
        ({"data_manager": "sqlite", "db_path": ""}, "db_path=''"),
        ({"default_app_id": ""}, "default_app_id='': expected a text"),
        ({"telemetry_failure_policy": "panic"}, "telemetry_failure_policy='panic': expected"),
        ({"tokenizer": 5}, "tokenizer=5: expected"),
    ],
)
def test_what_cannot_be_used_is_quoted(
    init: Callable[..., atm.Handle], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(atm.ConfigurationError) as caught:
        init(**settings)
    assert said in str(caught.value)


def test_an_app_of_the_context_goes_before_the_default(program: Callable[..., Told]) -> None:
    told = program(default_app_id="bot")
    atm.add_user_request(token_count=1)
    atm.add_user_request(token_count=1, app_id="other")
    with atm.context(app="third"):
        atm.add_user_request(token_count=1)
    assert told.rows("app") == ["bot", "other", "third"]


def test_a_tokenizer_of_ones_own_counts_texts(program: Callable[..., Told]) -> None:
    class Words:
        def count(self, text: str, model: str | None) -> TokenCount:
            return TokenCount(len(text.split()))

    told = program(tokenizer=Words())
    atm.add_user_request("one two three")
    assert told.rows("input_tokens, estimated") == [(3, False)]


def test_a_tokenizer_that_is_given_again_is_kept_once(program: Callable[..., Told]) -> None:
    class Unsure:
        asked = 0

        def count(self, text: str, model: str | None) -> None:
            self.asked += 1

    unsure = Unsure()
    for _ in range(3):
        told = program(data_manager="memory", tokenizer=unsure)
    atm.add_user_request("one two three")
    assert unsure.asked == 1
    assert told.used["plenty"] > 0


class TestRowsThatCannotBeWritten:
    """The folder of the spool is a file."""

    @pytest.fixture
    def blocked(self, program: Callable[..., Told], request: Any) -> Told:
        told = program(telemetry_failure_policy=request.param)
        self.spool = told.path.with_name(told.path.name + ".spool")
        self.spool.write_text("in the way")
        return told

    @pytest.mark.parametrize("blocked", ["warn"], indirect=True)
    def test_are_lost_and_counted_by_warn(self, blocked: Told) -> None:
        atm.add_user_request(token_count=1)
        assert blocked.handle._processor.trouble.dropped == {"spool_write": 1}
        blocked.trouble = {"spool_write": 1}
        self.spool.unlink()

    @pytest.mark.parametrize("blocked", ["fail"], indirect=True)
    def test_are_errors_of_the_facade_by_fail_and_charged(self, blocked: Told) -> None:
        with pytest.raises(atm.StoreError, match="telemetry_failure_policy='fail'"):
            atm.add_user_request(token_count=1)
        assert blocked.used["plenty"] == 1
        blocked.trouble = {"spool_write": 1}
        self.spool.unlink()

    @pytest.mark.parametrize("blocked", ["fail"], indirect=True)
    def test_are_no_errors_of_the_next_call(self, blocked: Told) -> None:
        atm.limits.add(atm.Scope(user="ann"), atm.Quota(minute_limit=10))
        with pytest.raises(atm.TokenQuotaExceeded):
            atm.add_user_request(token_count=11, username="ann")
        self.spool.unlink()
        atm.add_user_request(token_count=1)
        blocked.trouble = {"spool_write": 1}

    @pytest.mark.parametrize("blocked", ["buffer"], indirect=True)
    def test_are_written_later_by_buffer(self, blocked: Told) -> None:
        for count in (1, 2, 4):
            atm.add_user_request(token_count=count)
        self.spool.unlink()
        assert blocked.rows("input_tokens") == [1, 2, 4]
        blocked.trouble = blocked.handle._processor.trouble.counts
