from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm.executors import carry_context
from otel_atm.ledger import MemoryLedger
from otel_atm.scope import current_scope

word: ContextVar[str] = ContextVar("word", default="none")


def payer() -> str | None:
    return current_scope().get("user")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """One thread, so that whatever is left in it is seen."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(params=["carrying", "carry_context"])
def carries(request: pytest.FixtureRequest, pool: ThreadPoolExecutor) -> Iterator[Executor]:
    """A pool that carries contexts, in either way."""
    if request.param == "carrying":
        yield atm.carrying(pool)
        return
    carry_context(True)
    yield pool
    carry_context(False)


def test_work_belongs_to_who_submits_it(carries: Executor) -> None:
    with atm.context(user="ann"):
        anns = carries.submit(payer)
    with atm.context(user="bob"):
        bobs = carries.submit(payer)
    nobodys = carries.submit(payer)
    assert (anns.result(), bobs.result(), nobodys.result()) == ("ann", "bob", None)


def test_all_of_a_map_too(carries: Executor) -> None:
    with atm.context(user="ann"):
        found = list(carries.map(lambda number: (number, payer()), range(3), timeout=10))
    assert found == [(0, "ann"), (1, "ann"), (2, "ann")]


def test_arguments_results_and_errors_pass(carries: Executor) -> None:
    assert carries.submit(divmod, 7, 2).result() == (3, 1)
    assert carries.submit(int, "11", base=2).result() == 3
    with pytest.raises(ZeroDivisionError):
        carries.submit(divmod, 1, 0).result()
    with pytest.raises(TypeError):
        carries.submit()  # type: ignore[call-arg]


def test_the_current_span_comes_along(carries: Executor) -> None:
    tracer = TracerProvider(resource=Resource({}), shutdown_on_exit=False).get_tracer("x")
    with tracer.start_as_current_span("request") as span:
        assert carries.submit(trace.get_current_span).result() is span
    assert carries.submit(trace.get_current_span).result() is trace.INVALID_SPAN


def test_what_work_changes_is_gone_when_it_is_done(carries: Executor) -> None:
    def leak() -> str:
        before = word.get()
        word.set("left")
        return before

    assert [carries.submit(leak).result() for _ in range(3)] == ["none"] * 3
    assert word.get() == "none"


def test_it_works_in_an_event_loop_for_many_users_at_once(carries: Executor) -> None:
    async def ask(user: str) -> str | None:
        with atm.context(user=user):
            await asyncio.sleep(0)
            return await asyncio.get_running_loop().run_in_executor(carries, payer)

    async def main() -> None:
        users = [f"user {number}" for number in range(50)]
        assert await asyncio.gather(*map(ask, users)) == users

    asyncio.run(main())


def test_to_thread_carries_by_itself() -> None:
    async def main() -> None:
        with atm.context(user="ann"):
            assert await asyncio.to_thread(payer) == "ann"

    asyncio.run(main())


def test_without_it_work_in_a_pool_is_nobodys(pool: ThreadPoolExecutor) -> None:
    with atm.context(user="ann"):
        assert pool.submit(payer).result() is None


def test_a_carrying_executor_shuts_its_own_down() -> None:
    pool = ThreadPoolExecutor(1)
    with atm.carrying(pool) as carrying:
        assert atm.carrying(carrying) is carrying
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(payer)


@pytest.mark.parametrize(
    "executor", [ProcessPoolExecutor, lambda: "pool"], ids=["processes", "text"]
)
def test_what_cannot_carry_is_an_error(executor: Any) -> None:
    with pytest.raises(atm.ConfigurationError):
        atm.carrying(executor())


class TestTheSwitch:
    def test_goes_on_and_off_once(self) -> None:
        before = ThreadPoolExecutor.__dict__["submit"]
        carry_context(True)
        on = ThreadPoolExecutor.__dict__["submit"]
        carry_context(True)
        assert ThreadPoolExecutor.__dict__["submit"] is on is not before
        carry_context(False)
        carry_context(False)
        assert ThreadPoolExecutor.__dict__["submit"] is before

    def test_leaves_a_wrapper_of_somebody_else_where_it_is(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        carry_context(True)
        ours = ThreadPoolExecutor.submit

        def theirs(pool: ThreadPoolExecutor, /, *args: Any, **more: Any) -> Future[Any]:
            return ours(pool, *args, **more)

        with monkeypatch.context() as patched:
            patched.setattr(ThreadPoolExecutor, "submit", theirs)
            carry_context(False)
            assert ThreadPoolExecutor.submit is theirs
            with ThreadPoolExecutor(1) as pool, atm.context(user="ann"):
                assert pool.submit(payer).result() is None
        ThreadPoolExecutor.submit = ours.__wrapped__  # type: ignore[attr-defined, method-assign]

    def test_is_one_of_init_and_ends_with_it(self) -> None:
        provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        before = ThreadPoolExecutor.submit
        handle = atm.init(provider, ledger=MemoryLedger(), store=None, carry_context=True)
        try:
            with ThreadPoolExecutor(1) as pool, atm.context(user="ann"):
                assert pool.submit(payer).result() == "ann"
        finally:
            handle.shutdown()
        assert ThreadPoolExecutor.submit is before
