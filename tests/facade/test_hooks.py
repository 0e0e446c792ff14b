"""Hooks: before a row they may change or veto it; after it they are never in the way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import otel_atm as atm
from tests.facade.conftest import Told

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5.1",
    "gen_ai.usage.input_tokens": 11,
    "gen_ai.usage.output_tokens": 7,
}


def call(told: Told) -> None:
    """One of an instrumentation."""
    started = {key: CHAT[key] for key in list(CHAT)[:3]}
    span = told.provider.get_tracer("openai").start_span("chat", attributes=started)
    span.set_attributes(CHAT)
    span.end()


class TestBefore:
    def test_may_add_labels_and_say_who_pays(self, told: Told) -> None:
        @atm.hook("pre")
        def audit(event: Any) -> None:
            event._additional_metadata_tags.append("audited")
            event.username = event.username.lower()
            event._additional_metadata_config["node"] = "a1"

        atm.add_user_request(token_count=1, username="ANN")
        assert told.rows("user_id, tags, attributes.node::varchar") == [("ann", ["audited"], "a1")]

    def test_sees_rows_of_every_door_and_cannot_change_their_counts(self, told: Told) -> None:
        @atm.hook("pre")
        def audit(event: Any) -> None:
            event._additional_metadata_tags.append(event.event_type)
            event.token_count = 0

        call(told)
        assert told.rows("tags, total_tokens, source") == [(["call"], 18, "span")]

    def test_may_correct_what_was_told(self, told: Told) -> None:
        @atm.hook("pre")
        def double(event: Any) -> None:
            event.token_count *= 2

        atm.add_user_request(token_count=4)
        atm.add_model_response(token_count=5)
        assert told.rows("input_tokens, output_tokens") == [(8, 10)]
        assert told.used["plenty"] == 18

    def test_may_veto_a_request_before_anything_is_charged(self, told: Told) -> None:
        @atm.hook("pre")
        def veto(event: Any) -> None:
            if event.token_count > 100:
                raise PermissionError("no prompts of this size")

        with pytest.raises(PermissionError, match="no prompts of this size"):
            atm.add_user_request(token_count=101)
        atm.add_user_request(token_count=100)
        assert told.used == {"plenty": 100, "calls": 1}

    def test_is_counted_where_it_fails_for_a_call_that_was_made(self, told: Told) -> None:
        @atm.hook("pre")
        def fail(event: Any) -> None:
            raise RuntimeError("a secret prompt")

        call(told)
        assert told.rows("total_tokens") == [18]
        told.trouble = {"pre_hook": 1}

    def test_who_is_no_payer_is_counted_and_the_row_is_as_it_was(self, told: Told) -> None:
        @atm.hook("pre")
        def spoil(event: Any) -> None:
            event._additional_metadata_tags = 5

        call(told)
        assert told.rows("total_tokens, tags") == [(18, [])]
        told.trouble = {"pre_hook": 1}

    def test_several_see_what_those_before_them_have_done(self, told: Told) -> None:
        for label in ("one", "two"):

            @atm.hook("pre")
            def add(event: Any, label: str = label) -> None:
                event._additional_metadata_tags.append(
                    label + str(len(event._additional_metadata_tags))
                )

        atm.add_user_request(token_count=1)
        assert told.rows("tags") == [["one0", "two1"]]


class TestAfter:
    def test_sees_each_row_in_another_thread(self, told: Told) -> None:
        seen: list[Any] = []

        @atm.hook("post")
        def alert(event: Any) -> None:
            seen.append((threading.current_thread() is threading.main_thread(), event))

        request = atm.add_user_request(token_count=32, username="ann", model_id="gpt-5.1")
        atm.add_model_response(token_count=20_000, username="ann", model_id="gpt-5.1")
        call(told)
        told.handle.force_flush()
        assert [in_main for in_main, _ in seen] == [False] * 3
        events = [event for _, event in seen]
        assert [(event.event_type, event.token_count) for event in events] == [
            ("request", 32),
            ("response", 20_000),
            ("call", 18),
        ]
        assert (events[0].event_id, events[0].username) == (request, "ann")
        assert events[2].cost_usd > 0

    def test_sees_refusals(self, program: Callable[..., Told]) -> None:
        told = program(budgets=["10 tokens / day"])
        seen: list[Any] = []
        atm.hook("post")(seen.append)
        with pytest.raises(atm.TokenQuotaExceeded):
            atm.add_user_request(token_count=11)
        told.handle.force_flush()
        assert [event.decision for event in seen] == ["refused"]

    @pytest.mark.parametrize("error", [RuntimeError(), SystemExit(1), asyncio.CancelledError()])
    def test_that_fails_is_counted_and_others_go_on(self, told: Told, error: BaseException) -> None:
        seen: list[Any] = []

        @atm.hook("post")
        def fail(event: Any) -> None:
            raise error

        atm.hook("post")(seen.append)
        atm.add_user_request(token_count=1)
        told.handle.force_flush()
        assert len(seen) == 1
        told.trouble = {"post_hook": 1}

    def test_that_hangs_is_in_nobodys_way(self, told: Told) -> None:
        go_on = threading.Event()

        @atm.hook("post")
        def hang(event: Any) -> None:
            go_on.wait(60)

        try:
            for _ in range(20):
                atm.add_user_request(token_count=1)
            assert told.used["plenty"] == 20
            assert not told.handle.force_flush(timeout_millis=50)
        finally:
            go_on.set()

    def test_that_flushes_does_not_wait_for_itself(self, told: Told) -> None:
        flushed: list[bool] = []

        @atm.hook("post")
        def flush(event: Any) -> None:
            flushed.append(told.handle.force_flush())

        atm.add_user_request(token_count=1)
        assert told.handle.force_flush()
        assert flushed == [True]

    def test_may_end_everything(self, told: Told) -> None:
        atm.hook("post")(lambda _: told.handle.shutdown())
        atm.add_user_request(token_count=1)
        assert told.handle.force_flush()
        with pytest.raises(atm.ConfigurationError, match=r"call otel_atm\.init"):
            atm.add_user_request(token_count=1)

    def test_may_be_async(self, told: Told) -> None:
        seen: list[int] = []

        @atm.hook("post")
        async def notify(event: Any) -> None:
            seen.append(event.token_count)

        atm.add_user_request(token_count=3)
        told.handle.force_flush()
        assert seen == [3]

    def test_may_not_change_what_others_see(self, told: Told) -> None:
        seen: list[Any] = []

        @atm.hook("post")
        def spoil(event: Any) -> None:
            event.token_count = 0
            event._additional_metadata_tags.append("spoilt")

        atm.hook("post")(seen.append)
        atm.add_user_request(token_count=3)
        told.handle.force_flush()
        assert [(event.token_count, event._additional_metadata_tags) for event in seen] == [(3, [])]


@pytest.mark.parametrize("when", ["pre", "post"])
def test_what_a_hook_tells_of_no_hook_sees(told: Told, when: Any) -> None:
    seen: list[int] = []

    @atm.hook(when)
    def summarize(event: Any) -> None:
        seen.append(event.token_count)
        atm.add_user_request(token_count=100, username="summaries")

    atm.add_user_request(token_count=3)
    told.handle.force_flush()
    assert seen == [3]
    assert sorted(told.rows("input_tokens")) == [3, 100]


def test_a_hook_that_is_registered_by_a_hook_sees_the_rows_from_then_on(told: Told) -> None:
    seen: list[int] = []

    @atm.hook("pre")
    def register(event: Any) -> None:
        atm.hook("post")(lambda event: seen.append(event.token_count))

    atm.add_user_request(token_count=3)
    told.handle.force_flush()
    assert seen == [3]


def test_hooks_see_all_rows_before_the_handle_ends(program: Callable[..., Told]) -> None:
    seen: list[int] = []
    told = program(data_manager="memory")
    go_on = threading.Event()

    @atm.hook("post")
    def slow(event: Any) -> None:
        go_on.wait(60)
        seen.append(event.token_count)

    for count in (1, 2, 4):
        atm.add_user_request(token_count=count)
    threading.Timer(0.01, go_on.set).start()
    told.handle.shutdown()
    assert seen == [1, 2, 4]


def test_hooks_end_with_the_handle(program: Callable[..., Told]) -> None:
    seen: list[Any] = []
    first = program(data_manager="memory")
    atm.hook("post")(seen.append)
    first.handle.shutdown()
    second = program(data_manager="memory")
    atm.add_user_request(token_count=1)
    second.handle.force_flush()
    assert seen == []


@pytest.mark.parametrize(
    ("when", "function", "said"),
    [
        ("during", print, "hook('during'): expected 'pre' or 'post'"),
        ("pre", 5, "5 is no function"),
        ("pre", asyncio.sleep, "is async; only hooks after may be"),
    ],
)
def test_what_is_no_hook_is_quoted(when: Any, function: Any, said: str) -> None:
    with pytest.raises(atm.ConfigurationError) as caught:
        atm.hook(when)(function)
    assert said in str(caught.value)
