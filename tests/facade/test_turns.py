"""Several requests before several answers: each call is counted once, each answer is its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import Span, use_span

import otel_atm as atm
from otel_atm.testing import ManualClock, ProviderServer
from tests.e2e.conftest import spending
from tests.facade.conftest import Told

MODEL = "gpt-5.1"
SAID: Any = [{"role": "user", "content": "How does compound interest work?"}]
SIDES = "input_tokens, output_tokens"


def ask(tokens: int, model: str | None = MODEL, **who: str) -> str:
    return atm.add_user_request(token_count=tokens, model_id=model, **who)  # type: ignore[arg-type]


def answer(tokens: int, model: str | None = MODEL, **who: str) -> str | None:
    return atm.add_model_response(token_count=tokens, model_id=model, **who)  # type: ignore[arg-type]


def see(told: Told, tokens: int = 7) -> None:
    """An instrumentation's span of a call."""
    end(begin(told), tokens)


def begin(told: Told, emitter: str = "openai") -> Span:
    """The start of one."""
    started = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
    }
    return told.provider.get_tracer(emitter).start_span("chat", attributes=started)


def end(span: Span, tokens: int = 7) -> None:
    span.set_attributes({"gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": tokens})
    span.end()


def in_a_thread(*work: Callable[[], object]) -> None:
    """Do this in a thread with a context of its own."""
    thread = threading.Thread(target=lambda: [each() for each in work])
    thread.start()
    thread.join()


class TestInOneContext:
    def test_answers_go_to_the_requests_in_their_order(self, told: Told) -> None:
        asked = [ask(tokens) for tokens in (1, 2, 3)]
        assert [answer(tokens) for tokens in (10, 20, 30)] == asked
        assert told.rows(f"calls, {SIDES}") == [(1, 1, 10), (1, 2, 20), (1, 3, 30)]

    def test_in_any_order_they_go_by_their_models(self, told: Told) -> None:
        for tokens, model in ((1, "a"), (2, "b"), (3, "a"), (4, None)):
            ask(tokens, model)
        for tokens, model in ((20, "b"), (10, "a"), (40, None), (30, "a")):
            answer(tokens, model)
        assert told.rows(SIDES) == [(1, 10), (2, 20), (3, 40), (4, 30)]

    def test_a_request_that_names_the_model_goes_before_one_that_names_none(
        self, told: Told
    ) -> None:
        ask(1, None)
        ask(2, "a")
        answer(20, "a")
        answer(10, "a")
        assert told.rows(SIDES) == [(1, 10), (2, 20)]

    def test_the_model_that_an_answer_names_by_itself_tells_too(self, told: Told) -> None:
        ask(1, "gpt-5.1")
        ask(2, "claude-9")
        ask(3, "my-deployment")
        for model, made in (("claude-9-20261101", 20), ("gpt-5.1-2025-11-13", 10), ("x", 30)):
            usage = {"prompt_tokens": made // 10, "completion_tokens": made}
            atm.add_model_response({"model": model, "usage": usage})
        assert told.rows(SIDES) == [(1, 10), (2, 20), (3, 30)]

    def test_of_two_payers_the_last_one_is_answered_where_nobody_is_named(self, told: Told) -> None:
        ask(1, username="ann")  # and her call failed before it was sent
        ask(2, username="bob")
        answer(20)
        assert told.rows(f"user_id, {SIDES}") == [("ann", 1, 0), ("bob", 2, 20)]

    def test_requests_that_a_door_sees_give_way_one_for_each_call(self, told: Told) -> None:
        for tokens in (1, 2, 3):
            ask(tokens)
        for tokens in (10, 20, 30):
            see(told, tokens)
        assert [answer(tokens) for tokens in (10, 20, 30)] == [None] * 3
        assert told.rows(f"source, calls, {SIDES}") == [
            *[("facade", 0, 0, 0)] * 3,
            *[("span", 1, 11, tokens) for tokens in (10, 20, 30)],
        ]
        assert told.used == {"plenty": 93, "calls": 3}

    def test_so_they_do_where_each_call_is_answered_before_the_next(self, told: Told) -> None:
        for tokens in (1, 2, 3):
            ask(tokens)
        for tokens in (10, 20, 30):
            see(told, tokens)
            assert answer(tokens) is None
        assert told.used == {"plenty": 93, "calls": 3}

    def test_calls_that_are_open_at_once_are_calls_of_their_own(self, told: Told) -> None:
        for tokens in (1, 2, 3):
            ask(tokens)
        for span in [begin(told) for _ in range(3)]:
            end(span)
        assert [answer(7) for _ in range(3)] == [None] * 3
        assert told.used == {"plenty": 54, "calls": 3}

    def test_two_instrumentations_of_one_call_take_one_request(self, told: Told) -> None:
        ask(1)
        ask(2)
        outer = begin(told, "framework")
        with use_span(outer):
            end(begin(told))
        end(outer)
        assert told.rows("source, calls, total_tokens") == [
            ("facade", 0, 0),
            ("facade", 1, 2),
            ("span", 1, 18),
        ]
        assert answer(7) is None
        assert answer(20) is not None
        assert told.used == {"plenty": 40, "calls": 2}

    def test_by_their_models_where_only_some_are_seen(self, told: Told) -> None:
        for tokens, model in ((1, "a"), (2, MODEL), (4, "a")):
            ask(tokens, model)
        see(told)
        assert [answer(tokens, model) is None for tokens, model in ((10, "a"), (7, MODEL))] == [
            False,
            True,
        ]
        answer(40, "a")
        assert told.rows(f"source, calls, {SIDES}") == [
            ("facade", 1, 1, 10),
            ("facade", 0, 0, 0),
            ("facade", 1, 4, 40),
            ("span", 1, 11, 7),
        ]

    def test_a_call_that_failed_takes_no_answer_of_the_next(self, told: Told) -> None:
        ask(1)
        span = begin(told)
        span.set_attribute("error.type", "500")
        end(span, 0)
        asked = ask(2)  # by a client that nothing sees
        assert answer(20) == asked

    def test_of_a_call_that_failed_and_nothing_saw_one_tells_an_answer_of_nothing(
        self, told: Told
    ) -> None:
        ask(1)
        answer(0)
        ask(2)
        answer(20)
        assert told.rows(f"calls, {SIDES}") == [(1, 1, 0), (1, 2, 20)]

    def test_a_request_that_was_refused_when_it_was_sent_takes_no_answer_of_the_next(
        self, program: Callable[..., Told]
    ) -> None:
        openais = {"provider": "openai"}
        budget = atm.Budget(limit=30, unit="tokens", window="day", match=openais)
        told = program(budgets=[budget], guards=True)
        see(told, 40)
        ask(1)
        with pytest.raises(atm.TokenQuotaExceeded):
            begin(told)
        asked = ask(2)
        assert answer(20) == asked

    def test_a_request_whose_call_was_seen_waits_no_longer_than_others(
        self, told: Told, clock: ManualClock
    ) -> None:
        ask(1)
        see(told)
        clock.advance(15 * 60)
        asked = ask(2)
        assert answer(20) == asked


@given(st.text("asr", max_size=30))
@settings(max_examples=25)
def test_in_whatever_order_each_call_that_is_seen_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, steps: str
) -> None:
    told = Told(tmp_path_factory.mktemp("told"), ManualClock())
    asked = seen = answered = 0
    try:
        for step in steps + "s" * len(steps) + "r" * len(steps):
            if step == "a":
                asked += 1
                ask(5)
            elif step == "s" and seen < asked:
                seen += 1
                see(told)
            elif step == "r" and answered < seen:
                answered += 1
                assert answer(7) is None
        assert told.used == ({"plenty": 18 * asked, "calls": asked} if asked else {})
    finally:
        told.handle.shutdown()
        told.provider.shutdown()


class TestInTasks:
    @pytest.mark.parametrize("seen", [False, True])
    def test_each_has_its_own_answer(self, told: Told, seen: bool) -> None:
        async def call(number: int, barrier: asyncio.Barrier) -> None:
            ask(number)
            await barrier.wait()
            if seen:
                see(told, 100 * number)
            await barrier.wait()
            answer(100 * number)

        async def main() -> None:
            barrier = asyncio.Barrier(10)
            await asyncio.gather(*(call(number, barrier) for number in range(1, 11)))

        asyncio.run(main())
        numbers = range(1, 11)
        if seen:
            assert told.used == {"plenty": 110 + 5500, "calls": 10}
            assert sorted(told.rows(f"calls, {SIDES}")) == [
                *[(0, 0, 0)] * 10,
                *[(1, 11, 100 * number) for number in numbers],
            ]
        else:
            assert told.rows(f"calls, {SIDES}") == [(1, n, 100 * n) for n in numbers]

    def test_those_of_a_task_go_before_those_of_the_one_that_started_it(self, told: Told) -> None:
        async def inner(number: int) -> None:
            ask(number)
            await asyncio.sleep(0)
            answer(10 * number)

        async def outer() -> None:
            ask(1)
            await asyncio.gather(inner(2), inner(3))
            answer(10)

        asyncio.run(outer())
        assert told.rows(SIDES) == [(1, 10), (2, 20), (3, 30)]

    def test_a_task_tells_the_answer_of_the_one_that_started_it(self, told: Told) -> None:
        async def main() -> None:
            ask(1)
            ask(2)
            await asyncio.to_thread(answer, 10)
            await asyncio.create_task(asyncio.to_thread(answer, 20))

        asyncio.run(main())
        assert told.rows(SIDES) == [(1, 10), (2, 20)]

    def test_tasks_that_start_one_another_are_let_go(self, told: Told) -> None:
        from otel_atm.gate.turns import _place

        depths: list[int] = []

        async def step(left: int) -> None:
            ask(left, username=f"user {left}")
            place, depth = _place.get(), 0
            while place is not None:
                place, depth = place.above, depth + 1
            depths.append(depth)
            if left:
                await asyncio.create_task(step(left - 1))

        asyncio.run(step(40))
        assert max(depths) == 9
        assert len(depths) == 41


class TestInAPoolWithoutContext:
    def test_requests_and_answers_of_different_threads_find_each_other(self, told: Told) -> None:
        in_a_thread(*(lambda n=n: ask(n, username="ann") for n in (1, 2)))  # type: ignore[misc]
        in_a_thread(lambda: ask(3, username="ann"), lambda: ask(4, username="bob"))
        in_a_thread(lambda: answer(40, username="bob"), lambda: answer(10, username="ann"))
        in_a_thread(lambda: answer(20, username="ann"), lambda: answer(30, username="ann"))
        assert told.rows(SIDES) == [(1, 10), (2, 20), (3, 30), (4, 40)]

    def test_pairs_of_many_threads_are_counted_once(self, told: Told) -> None:
        def pair(number: int) -> None:
            ask(number, username=f"user {number % 3}")
            answer(number * 1_000, username=f"user {number % 3}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(pair, range(1, 41)))
        assert sorted(told.rows(f"calls, {SIDES}")) == [(1, n, 1_000 * n) for n in range(1, 41)]
        assert told.used == {"plenty": 1_001 * 820, "calls": 40}

    def test_all_asked_in_one_pool_and_answered_in_another(self, told: Told) -> None:
        for work in (ask, answer):
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(work, range(1, 41)))
        assert [len(told.rows(SIDES)), told.used["calls"]] == [40, 40]
        assert told.used["plenty"] == 2 * 820

    def test_a_call_that_is_seen_there_is_that_of_the_oldest_request_of_its_payer(
        self, told: Told
    ) -> None:
        for tokens in (1, 2):
            ask(tokens)
        in_a_thread(lambda: see(told, 10))
        in_a_thread(lambda: see(told, 20))
        assert [answer(10), answer(20)] == [None, None]
        assert told.rows(f"source, calls, {SIDES}") == [
            *[("facade", 0, 0, 0)] * 2,
            ("span", 1, 11, 10),
            ("span", 1, 11, 20),
        ]

    def test_also_where_its_answer_is_told_there(self, told: Told) -> None:
        ask(1)
        in_a_thread(lambda: see(told, 10), lambda: answer(10))
        asked = ask(2)
        assert answer(20) == asked
        assert told.used == {"plenty": 21 + 22, "calls": 2}

    @pytest.mark.parametrize(
        "asked",
        [
            {"tokens": 1, "username": "ann"},  # who has not told the thread
            {"tokens": 1, "model": "claude-9"},
            {"tokens": 1, "model": None},
        ],
    )
    def test_a_call_of_another_payer_or_model_is_another_call(
        self, told: Told, asked: dict[str, Any]
    ) -> None:
        ask(**asked)
        in_a_thread(lambda: see(told))
        assert told.used == {"plenty": 19, "calls": 2}

    def test_so_is_one_that_is_seen_more_than_a_minute_later(
        self, told: Told, clock: ManualClock
    ) -> None:
        ask(1)
        clock.advance(60)
        in_a_thread(lambda: see(told))
        assert told.used == {"plenty": 19, "calls": 2}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    with ProviderServer(spending) as server:
        yield server


class TestUnderGuards:
    """As above, where requests are seen on their way."""

    @pytest.fixture
    def guarded(self, program: Callable[..., Told]) -> Told:
        return program(guards=True, gateways={"127.0.0.1": "openai"})

    @pytest.fixture
    def client(self, guarded: Told, server: ProviderServer) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(api_key="k", base_url=server.openai_url) as client:
            yield client

    def send(self, client: openai.OpenAI) -> Any:
        return client.chat.completions.create(model=MODEL, messages=SAID)

    def counted(self, told: Told, server: ProviderServer, calls: int) -> None:
        """Whether each call is counted once, and with what the provider told."""
        made = sum(
            report.input_tokens + report.output_tokens for report in server.reported[-calls:]
        )
        assert told.used == {"plenty": made, "calls": calls}
        assert sorted(told.rows("source, calls")) == sorted([("facade", 0), ("guard", 1)] * calls)

    def test_several_before_several(
        self, guarded: Told, client: openai.OpenAI, server: ProviderServer
    ) -> None:
        for _ in range(3):
            ask(5)
        responses = [self.send(client) for _ in range(3)]
        assert [atm.add_model_response(each, model_id=MODEL) for each in responses] == [None] * 3
        self.counted(guarded, server, 3)

    def test_in_a_pool_without_its_context(
        self, guarded: Told, client: openai.OpenAI, server: ProviderServer
    ) -> None:
        with ThreadPoolExecutor(3) as pool:
            for _ in range(6):
                ask(5)
            for work in [pool.submit(self.send, client) for _ in range(6)]:
                assert atm.add_model_response(work.result(), model_id=MODEL) is None
        self.counted(guarded, server, 6)

    def test_under_a_span_of_the_same_call_in_a_pool_without_its_context(
        self, guarded: Told, client: openai.OpenAI, server: ProviderServer
    ) -> None:
        def work() -> Any:
            span = begin(guarded)
            response = self.send(client)
            end(span, response.usage.completion_tokens)
            return response

        with ThreadPoolExecutor(1) as pool:
            for _ in range(3):
                ask(5)
            for done in [pool.submit(work) for _ in range(2)]:
                assert atm.add_model_response(done.result(), model_id=MODEL) is None
        assert sorted(guarded.rows("source, calls")) == [
            ("facade", 0),
            ("facade", 0),
            ("facade", 1),
            ("span", 1),
            ("span", 1),
        ]

    def test_several_in_tasks(self, guarded: Told, server: ProviderServer) -> None:
        async def call(client: openai.AsyncOpenAI) -> None:
            ask(5)
            response = await client.chat.completions.create(model=MODEL, messages=SAID)
            assert atm.add_model_response(response, model_id=MODEL) is None

        async def main() -> None:
            async with openai.AsyncOpenAI(api_key="k", base_url=server.openai_url) as client:
                await asyncio.gather(*(call(client) for _ in range(10)))

        asyncio.run(main())
        self.counted(guarded, server, 10)
