"""The store as a processor uses it: flushed, closed, forked, and drained without being asked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm.store import store as store_module
from otel_atm.store.drain import drain
from otel_atm.store.lock import locked
from otel_atm.store.paths import StorePaths
from otel_atm.store.spool import Spool
from otel_atm.store.store import Store
from otel_atm.trouble import Trouble
from tests.store.conftest import assert_roll_ups_add_up, ids_of, rows_of

ROOT = Path(atm.__file__).parent.parent
CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5.1"}


class Program:
    """A tracer provider with a processor that keeps its rows in a store."""

    def __init__(self, store: Any, **settings: Any) -> None:
        self.processor = atm.TokenSpanProcessor(store=store, **settings)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self._tracer = self.provider.get_tracer("program")

    def call(self) -> str:
        """One call; its event id."""
        span: Any = self._tracer.start_span("chat", attributes=CALL)
        span.set_attribute("gen_ai.usage.input_tokens", 11)
        span.end()
        return str(span.attributes["atm.call_id"])


@pytest.fixture
def programs(path: Path) -> Iterator[Callable[..., Program]]:
    """Makes programs that keep their rows in one store."""
    made: list[Program] = []

    def make(store: Any = path) -> Program:
        made.append(Program(store))
        return made[-1]

    yield make
    for program in made:
        program.processor.retire()
        program.provider.shutdown()


@pytest.fixture
def drained(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set after each drain that a store has done."""
    event, real = threading.Event(), store_module.drain

    def and_tell(*arguments: Any, **settings: Any) -> int:
        try:
            return real(*arguments, **settings)
        finally:
            event.set()

    monkeypatch.setattr(store_module, "drain", and_tell)
    return event


def drain_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "otel-atm-drain"]


def waiting(path: Path) -> list[Path]:
    return list(path.with_name(path.name + ".spool").glob("*"))


class TestFlush:
    def test_takes_all_so_far_into_the_file(
        self, programs: Callable[..., Program], path: Path
    ) -> None:
        program = programs()
        events = [program.call() for _ in range(3)]
        assert program.processor.force_flush()
        assert waiting(path) == []
        assert ids_of(path) == events
        assert_roll_ups_add_up(path)

    def test_of_nothing_is_fine(self, programs: Callable[..., Program], path: Path) -> None:
        assert programs().processor.force_flush()
        assert not path.exists()

    def test_gives_up_when_its_time_is_over(
        self, programs: Callable[..., Program], path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        program = programs()
        event = program.call()
        with locked(path.with_name(path.name + ".lock")):
            assert not program.processor.force_flush(timeout_millis=20)
            assert not program.processor.force_flush(timeout_millis=20)
        (record,) = caplog.records  # it is said once
        assert "drain failed" in record.getMessage()
        assert program.processor.force_flush()
        assert ids_of(path) == [event]

    def test_of_a_file_that_is_no_duckdb_file_is_false_and_loses_nothing(
        self, programs: Callable[..., Program], path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path.write_text("hello")
        program = programs()
        event = program.call()
        assert not program.processor.force_flush()
        assert path.read_text() == "hello"
        assert len(waiting(path)) == 1
        path.unlink()
        assert program.processor.force_flush()
        assert ids_of(path) == [event]
        assert [record.levelname for record in caplog.records] == ["ERROR"]


class TestClose:
    def test_flushes_and_ends_the_thread(
        self, programs: Callable[..., Program], path: Path
    ) -> None:
        program = programs()
        event = program.call()
        assert len(drain_threads()) == 1
        program.processor.shutdown()
        assert drain_threads() == []
        assert waiting(path) == []
        assert ids_of(path) == [event]

    def test_does_not_end_the_keeping(self, programs: Callable[..., Program], path: Path) -> None:
        program = programs()
        events = [program.call()]
        program.processor.shutdown()
        events.append(program.call())
        program.processor.shutdown()
        program.processor.shutdown()
        events.append(program.call())
        assert ids_of(path) == events

    def test_writes_off_what_is_open_and_corrects_it_later(
        self, programs: Callable[..., Program], path: Path
    ) -> None:
        program = programs()
        span = program.provider.get_tracer("program").start_span("chat", attributes=CALL)
        program.processor.shutdown()
        assert [(row["status"], row["estimated"]) for row in rows_of(path)] == [("lost", True)]
        span.set_attribute("gen_ai.usage.input_tokens", 11)
        span.end()
        assert [(row["status"], row["total_tokens"]) for row in rows_of(path)] == [("ok", 11)]
        assert_roll_ups_add_up(path)


class TestTheThread:
    def test_drains_without_being_asked(
        self,
        programs: Callable[..., Program],
        path: Path,
        drained: threading.Event,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(store_module, "_INTERVAL_S", 0.01)
        program = programs()
        event = program.call()
        assert drained.wait(10)
        program.processor.shutdown()
        assert ids_of(path) == [event]

    def test_is_there_once_and_only_when_there_is_something_to_drain(
        self, programs: Callable[..., Program]
    ) -> None:
        program = programs()
        assert drain_threads() == []
        for _ in range(3):
            program.call()
            program.processor.force_flush()
        assert len(drain_threads()) == 1
        assert drain_threads()[0].daemon

    def test_goes_on_after_a_drain_that_failed(
        self,
        programs: Callable[..., Program],
        path: Path,
        drained: threading.Event,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(store_module, "_INTERVAL_S", 0.01)
        path.write_text("hello")
        program = programs()
        event = program.call()
        assert drained.wait(10)
        path.unlink()
        for _ in range(500):  # each is one more drain
            drained.clear()
            assert drained.wait(10)
            if not waiting(path):
                break
        assert ids_of(path) == [event]

    def test_seals_for_others_between_its_own_drains(
        self,
        programs: Callable[..., Program],
        path: Path,
        drained: threading.Event,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(store_module, "_INTERVAL_S", 0.01)
        monkeypatch.setattr(store_module, "_SHARE", 1e-9)  # so it drains once in ten seconds
        sealed, real = threading.Event(), Spool.seal

        def seal(spool: Spool) -> bool:
            was_open = real(spool)
            if was_open and drained.is_set():
                sealed.set()
            return was_open

        monkeypatch.setattr(Spool, "seal", seal)
        program = programs()
        events = [program.call()]
        assert drained.wait(10)
        events.append(program.call())
        assert sealed.wait(9)
        assert drain(StorePaths.of(path)) == 1  # as another process would
        assert ids_of(path) == events


class TestWhatWaits:
    def test_is_measured(self, path: Path) -> None:
        store = Store(path, trouble=Trouble())
        program = Program(store)
        assert (store.spooled_bytes(), store.drain_delay_s()) == (0, 0)
        with locked(store.paths.lock):
            program.call()
            (segment,) = waiting(path)
            assert store.spooled_bytes() == segment.stat().st_size > 0
            assert store.drain_delay_s() > 0
        assert store.flush()
        assert (store.spooled_bytes(), store.drain_delay_s()) == (0, 0)
        store.close()
        program.processor.retire()

    def test_of_a_folder_that_is_gone_is_nothing(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "gone" / "tokens.duckdb")
        assert (store.spooled_bytes(), store.drain_delay_s()) == (0, 0)
        assert store.flush()


class TestSharing:
    def test_two_programs_of_one_process_share_a_store(
        self, programs: Callable[..., Program], path: Path
    ) -> None:
        one, other = programs(), programs()
        events = [one.call(), other.call(), one.call()]
        assert ids_of(path) == sorted(events)
        events.append(other.call())
        assert one.processor.force_flush()
        assert other.processor.force_flush()
        assert ids_of(path) == sorted(events)

    def test_a_store_that_is_given_is_used(
        self, programs: Callable[..., Program], path: Path
    ) -> None:
        store = Store(path)
        event = programs(store).call()
        assert store.flush()
        assert waiting(path) == []
        assert ids_of(path) == [event]


def run_program(source: str, path: Path) -> str:
    """Run a program of its own that ends by itself; its output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


BEGIN = """
import os, sys
from pathlib import Path
from opentelemetry.sdk.trace import TracerProvider
import otel_atm as atm
from otel_atm.store import store

store._INTERVAL_S = 1_000.0  # nothing is drained but what a program asks for
processor = atm.TokenSpanProcessor(["9 requests / month"], "memory", sys.argv[1])
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(processor)
tracer = provider.get_tracer("app")

def call(user):
    with atm.context(user=user):
        span = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
    span.set_attribute("gen_ai.usage.input_tokens", 5)
    span.end()

def segments():
    return sorted(path.name for path in Path(sys.argv[1] + ".spool").iterdir())
"""


class TestTheEndOfAProgram:
    def test_flushes_though_nobody_shut_anything_down(self, path: Path) -> None:
        run_program(BEGIN + "call('ann')\n", path)
        assert waiting(path) == []
        assert path.exists()
        assert [row["user_id"] for row in rows_of(path)] == ["ann"]

    def test_that_is_no_end_at_all_loses_nothing(self, path: Path) -> None:
        run_program(BEGIN + "call('ann')\nos._exit(0)\n", path)
        assert len(waiting(path)) == 1
        assert [row["user_id"] for row in rows_of(path)] == ["ann"]

    def test_in_the_midst_of_drains_waits_for_them(self, path: Path) -> None:
        source = """
store._INTERVAL_S = 0.001
for number in range(9):
    call(f"user{number}")
"""
        run_program(BEGIN + source, path)
        assert waiting(path) == []
        assert len(rows_of(path)) == 9


POOL = """
import multiprocessing, sys
from opentelemetry.sdk.trace import TracerProvider
import otel_atm as atm

processor = atm.TokenSpanProcessor(store=sys.argv[1], ledger="memory", guards=False)
provider = TracerProvider()
provider.add_span_processor(processor)
tracer = provider.get_tracer("app")

def call(user):
    with atm.context(user=user):
        tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"}).end()

if __name__ == "__main__":
    call("parent")
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        pool.map(call, ["a", "b", "c", "d"], chunksize=1)
    assert processor.force_flush()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_workers_of_multiprocessing_write_is_taken_in_by_others(
    path: Path, tmp_path: Path, method: str
) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    subprocess.run(
        [sys.executable, script, path, method],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=True,
    )
    assert waiting(path) == []
    assert sorted(row["user_id"] for row in rows_of(path)) == ["a", "b", "c", "d", "parent"]


class TestFork:
    def test_a_child_writes_a_segment_of_its_own(self, path: Path) -> None:
        source = """
call("parent before")
(first,) = segments()
child = os.fork()
if child == 0:
    call("child")
    assert len(segments()) == 2, segments()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
call("parent after")
(other,) = set(segments()) - {first}
assert len(segments()) == 2, segments()
print(Path(sys.argv[1] + ".spool", other).read_text().count("child"), flush=True)
os._exit(0)
"""
        assert run_program(BEGIN + source, path) == "1\n"
        rows = rows_of(path)
        assert [row["user_id"] for row in rows] == ["parent before", "child", "parent after"]
        assert len({row["event_id"] for row in rows}) == 3
        assert_roll_ups_add_up(path)

    def test_a_child_drains_with_a_thread_of_its_own(self, path: Path) -> None:
        source = """
call("parent")
child = os.fork()
if child == 0:
    call("child")
    assert processor.force_flush()
    processor.shutdown()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
call("parent")
assert len(segments()) == 1  # ours: the child has left it alone
os._exit(0)
"""
        run_program(BEGIN + source, path)
        users = [row["user_id"] for row in rows_of(path)]
        assert users == ["parent", "child", "parent"]

    def test_what_was_open_when_it_forked_is_the_parents_alone(self, path: Path) -> None:
        source = """
with atm.context(user="parent"):
    span = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
span.set_attribute("gen_ai.usage.input_tokens", 5)
child = os.fork()
if child == 0:
    span.end()
    processor.shutdown()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
span.end()
os._exit(0)
"""
        run_program(BEGIN + source, path)
        (row,) = rows_of(path)
        assert (row["status"], row["revision"], row["input_tokens"]) == ("ok", 0, 5)


@pytest.mark.parametrize("store", [1, b"tokens.duckdb", 1.5], ids=repr)
def test_a_store_that_is_none_is_refused(store: object) -> None:
    with pytest.raises(atm.AtmError, match="store="):
        atm.TokenSpanProcessor(store=store)  # type: ignore[arg-type]
