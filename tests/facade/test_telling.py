"""What an application tells by itself: a request has its row, its answer is the next revision."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import StatusCode

import otel_atm as atm
from otel_atm.testing import ManualClock
from otel_atm.types import LLMPayload
from tests.facade.conftest import Told

WORDS = "word " * 100
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5.1",
}
USED = {"gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 7}
SUMS = "calls, attempts, input_tokens, output_tokens, estimated, revision"


def test_a_request_has_a_row_at_once(told: Told) -> None:
    atm.add_user_request(token_count=32, model_id="gpt-5.1")
    assert told.rows(SUMS) == [(1, 1, 32, 0, False, 0)]
    assert told.used == {"plenty": 32, "calls": 1}


def test_its_answer_is_the_rows_next_revision_and_no_second_call(
    told: Told, clock: ManualClock
) -> None:
    asked = atm.add_user_request(token_count=32, model_id="gpt-5.1")
    clock.advance(2.5)
    answered = atm.add_model_response(token_count=120, model_id="gpt-5.1")
    assert asked == answered
    assert told.rows(f"event_id, {SUMS}, duration_us") == [
        (asked, 1, 1, 32, 120, False, 1, 2_500_000)
    ]
    assert told.used == {"plenty": 152, "calls": 1}
    assert told.metric("atm.calls") == 1
    assert told.metric("atm.tokens") == 152


def test_an_answer_that_nobody_asked_for_is_a_row_without_calls(told: Told) -> None:
    atm.add_model_response(token_count=7, model_id="gpt-5.1")
    assert told.rows(SUMS) == [(0, 0, 0, 7, False, 0)]
    assert told.used == {"plenty": 7, "calls": 0}


def test_a_second_answer_is_not_of_the_same_request(told: Told) -> None:
    atm.add_user_request(token_count=1)
    atm.add_model_response(token_count=2)
    atm.add_model_response(token_count=4)
    assert told.rows("calls, input_tokens, output_tokens") == [(1, 1, 2), (0, 0, 4)]


def test_answers_go_to_the_requests_of_their_own_payer_and_model(told: Told) -> None:
    for user, model, count in (("ann", "a", 1), ("bob", "a", 2), ("ann", "b", 4)):
        atm.add_user_request(token_count=count, username=user, model_id=model)
    for user, model, count in (("ann", "b", 40), ("bob", "a", 20), ("ann", "a", 10)):
        atm.add_model_response(token_count=count, username=user, model_id=model)
    assert told.rows("user_id, model, input_tokens, output_tokens, calls") == [
        ("ann", "a", 1, 10, 1),
        ("bob", "a", 2, 20, 1),
        ("ann", "b", 4, 40, 1),
    ]


def test_tasks_of_one_payer_do_not_take_each_others_answers(told: Told) -> None:
    async def call(number: int, asked: list[asyncio.Event]) -> None:
        atm.add_user_request(token_count=number, model_id="m")
        asked[number - 1].set()
        for event in asked:
            await event.wait()
        atm.add_model_response(token_count=100 * number, model_id="m")

    async def main() -> None:
        asked = [asyncio.Event() for _ in range(3)]
        await asyncio.gather(*(call(number, asked) for number in (1, 2, 3)))

    asyncio.run(main())
    assert told.rows("input_tokens, output_tokens") == [(1, 100), (2, 200), (3, 300)]


def test_an_answer_that_comes_in_another_thread_finds_the_oldest_request(told: Told) -> None:
    atm.add_user_request(token_count=1, username="ann", model_id="m")
    thread = threading.Thread(
        target=atm.add_model_response,
        kwargs={"token_count": 5, "username": "ann", "model_id": "m"},
    )
    thread.start()
    thread.join()
    assert told.rows("input_tokens, output_tokens, calls") == [(1, 5, 1)]


def test_an_answer_whose_request_gave_way_takes_no_other_threads_request(told: Told) -> None:
    def ask_only() -> None:
        atm.add_user_request(token_count=5, username="ann", model_id="gpt-5.1")

    thread = threading.Thread(target=ask_only)
    thread.start()
    thread.join()
    atm.add_user_request(token_count=9, username="ann", model_id="gpt-5.1")
    TestACallThatADoorSees().call(told)
    assert atm.add_model_response(token_count=7, username="ann", model_id="gpt-5.1") is None
    assert told.rows("source, calls, total_tokens") == [
        ("facade", 1, 5),
        ("facade", 0, 0),
        ("span", 1, 18),
    ]


def test_an_answer_may_name_the_model_with_its_date(told: Told) -> None:
    atm.add_user_request(token_count=5, model_id="gpt-5.1")
    atm.add_model_response(token_count=7, model_id="gpt-5.1-2025-11-13")
    assert told.rows("model, calls, total_tokens") == [("gpt-5.1", 1, 12)]


def test_who_pays_may_be_a_number_or_empty_as_in_a_context(told: Told) -> None:
    atm.add_user_request(token_count=1, username=7)  # type: ignore[arg-type]
    with atm.context(username="ann"):
        atm.add_user_request(token_count=2, username="")
    assert told.rows("user_id, input_tokens") == [("7", 1), ("ann", 2)]


def test_counts_may_be_integers_of_anybody(told: Told) -> None:
    class Count:
        def __index__(self) -> int:
            return 12

    atm.add_user_request(token_count=Count())  # type: ignore[arg-type]
    assert told.rows("input_tokens") == [12]


def test_an_answer_without_text_is_charged_as_such_answers_are(told: Told) -> None:
    atm.add_user_request(token_count=5)
    atm.add_model_response(None)  # as the content of a message that calls tools
    assert told.rows("input_tokens, output_tokens, estimated, calls") == [(5, 500, True, 1)]


def test_an_answer_of_nobody_is_not_of_somebodys_request(told: Told) -> None:
    thread = threading.Thread(
        target=atm.add_user_request, kwargs={"token_count": 1, "username": "ann"}
    )
    thread.start()
    thread.join()
    atm.add_model_response(token_count=5)
    assert told.rows("user_id, calls, input_tokens, output_tokens") == [
        ("ann", 1, 1, 0),
        (None, 0, 0, 5),
    ]


def test_a_request_waits_fifteen_minutes_for_its_answer(told: Told, clock: ManualClock) -> None:
    atm.add_user_request(token_count=1)
    clock.advance(15 * 60)
    atm.add_model_response(token_count=5)
    assert told.rows("calls, input_tokens, output_tokens") == [(1, 1, 0), (0, 0, 5)]
    assert told.metric("atm.calls") == 1


def test_what_is_told_beside_a_payload_goes_before_it(told: Told) -> None:
    payload = LLMPayload(
        token_count_override=45,
        model_id="example-model",
        event_type="request",
        username="ann",
        _additional_metadata_tags=["dev-test"],
        _additional_metadata_config={"node_id": "emea-east-1"},
    )
    atm.add_user_request(payload, username="bob")
    assert told.rows("user_id, model, input_tokens, tags, attributes.node_id::varchar") == [
        ("bob", "example-model", 45, ["dev-test"], "emea-east-1")
    ]


def test_a_payload_does_not_show_its_text() -> None:
    assert "secret" not in repr(LLMPayload("a secret prompt", model_id="m"))


def test_who_pays_comes_from_the_blocks_around(told: Told) -> None:
    with (
        atm.context(session_id="s1", username="vip", _additional_metadata_tags=["production"]),
        atm.context(department="finance"),
    ):
        atm.add_user_request("How does compound interest work?", model_id="gemini-2.5-pro")
    assert told.rows("user_id, session_id, tags, attributes.department::varchar, source") == [
        ("vip", "s1", ["production"], "finance", "facade")
    ]


def test_what_is_configured_bills_nobody_else(told: Told) -> None:
    atm.add_user_request(
        token_count=1, username="ann", _additional_metadata_config={"user": "bob", "n": 1.5}
    )
    assert told.rows('user_id, attributes."config.user"::varchar, attributes.n::varchar') == [
        ("ann", "bob", "1.5")
    ]


def test_labels_of_request_and_answer_add_up(told: Told) -> None:
    atm.add_user_request(token_count=1, _additional_metadata_tags=["asked"])
    atm.add_model_response(token_count=1, _additional_metadata_tags=["answered"])
    assert told.rows("tags") == [["answered", "asked"]]


def test_texts_are_counted_and_marked_where_that_is_an_estimate(told: Told) -> None:
    atm.add_user_request("Explain quantum computing in simple terms.", model_id="no-such-model")
    atm.add_model_response("It is about amplitudes.", model_id="no-such-model")
    ((given, made, estimated),) = told.rows("input_tokens, output_tokens, estimated")
    assert 5 <= given <= 20
    assert 3 <= made <= 12
    assert estimated


@pytest.mark.parametrize(
    "request_",
    [
        [{"role": "user", "content": WORDS}],
        ({"role": "user", "content": [{"type": "text", "text": WORDS}]},),
        [SimpleNamespace(type="human", content=WORDS)],
        [{"role": "user", "parts": [{"text": WORDS}]}],
        [types.Content(role="user", parts=[types.Part(text=WORDS)])],
        [types.Part(text=WORDS)],
        ["Hello", WORDS],
        {"messages": [{"role": "user", "content": WORDS}], "model": "m"},
        {"system": WORDS, "messages": [{"role": "user", "content": "Hello"}]},
        {"messages": [SimpleNamespace(type="human", content=WORDS)]},
        {"contents": [{"parts": [{"text": WORDS}]}]},
        {"contents": WORDS},
        {"instructions": WORDS, "input": "Hello"},
        {"input": ["Hello", WORDS]},
        {"prompt": WORDS},
        {"inputText": WORDS},
        {"texts": [WORDS]},
    ],
)
def test_messages_contents_and_bodies_of_every_client_are_requests(
    told: Told, request_: object
) -> None:
    atm.add_user_request(request_, model_id="no-such-model")
    ((tokens, estimated),) = told.rows("input_tokens, estimated")
    assert 120 <= tokens <= 160
    assert estimated


class Hostile:
    """A client's object that cannot be looked at."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("a secret prompt")

    @property
    def usage(self) -> Any:
        return self


@pytest.mark.parametrize("tell", [atm.add_user_request, atm.add_model_response])
def test_objects_that_cannot_be_looked_at_are_counted_and_break_nothing(
    told: Told, tell: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    tell(Hostile(), model_id="m")
    assert told.rows("total_tokens, estimated") == [(500, True)]
    assert "secret" not in caplog.text
    told.trouble = dict(told.handle._processor.trouble.counts)
    assert set(told.trouble) == {"client_object"}


class TestARefusal:
    @pytest.fixture
    def limited(self, program: Callable[..., Told]) -> Told:
        return program(budgets=["500 tokens / minute per user"])

    def test_comes_out_and_charges_nothing(self, limited: Told) -> None:
        with pytest.raises(atm.TokenQuotaExceeded) as caught:
            atm.add_user_request("Some very long text", token_count=600, username="ann")
        assert caught.value.requested == 600
        assert caught.value.retry_after_s is None
        assert limited.rows("decision, input_tokens, calls, attributes.requested::int") == [
            ("refused", 0, 1, 600)
        ]

    def test_of_what_fits_into_no_minute_any_more_says_when(self, limited: Told) -> None:
        atm.add_user_request(token_count=400, username="ann")
        with pytest.raises(atm.TokenQuotaExceeded) as caught:
            atm.add_user_request(token_count=200, username="ann")
        assert caught.value.retry_after_s == 60
        atm.add_user_request(token_count=200, username="bob")

    def test_follows_an_answer_past_the_limit_which_is_charged(self, limited: Told) -> None:
        atm.add_user_request(token_count=10, username="ann")
        atm.add_model_response(token_count=100_000, username="ann")
        with pytest.raises(atm.TokenQuotaExceeded) as caught:
            atm.add_user_request(token_count=1, username="ann")
        assert caught.value.used == 100_010

    def test_ends_its_span_as_an_error(self, limited: Told) -> None:
        with pytest.raises(atm.TokenQuotaExceeded):
            atm.add_user_request(token_count=600, username="ann", model_id="m")
        (span,) = limited.spans
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes is not None
        assert span.attributes["error.type"] == "TokenQuotaExceeded"
        assert span.attributes["atm.decision"] == "refused"


class TestItsSpan:
    def test_lasts_from_the_request_to_the_answer_and_tells_both(self, told: Told) -> None:
        call_id = atm.add_user_request(token_count=3, model_id="gpt-5.1", username="ann")
        assert told.spans == ()
        atm.add_model_response(token_count=4, model_id="gpt-5.1", username="ann")
        (span,) = told.spans
        assert span.name == "chat gpt-5.1"
        assert dict(span.attributes or {}) == {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-5.1",
            "gen_ai.usage.input_tokens": 3,
            "gen_ai.usage.output_tokens": 4,
            "atm.user": "ann",
            "atm.decision": "allowed",
            "atm.call_id": call_id,
        }
        assert told.rows("calls") == [1]

    def test_ends_with_the_wait_for_an_answer(self, told: Told, clock: ManualClock) -> None:
        atm.add_user_request(token_count=3)
        clock.advance(15 * 60)
        atm.add_user_request(token_count=3)
        assert len(told.spans) == 1

    def test_ends_with_the_handle_at_the_latest(self, told: Told) -> None:
        atm.add_user_request(token_count=3)
        told.handle.shutdown()
        assert len(told.spans) == 1

    def test_ends_without_usage_where_the_request_gives_way(self, told: Told) -> None:
        atm.add_user_request(token_count=3, model_id="gpt-5.1")
        TestACallThatADoorSees().call(told)
        ours, theirs = told.spans
        assert not any(key.startswith("gen_ai.usage") for key in ours.attributes or {})
        assert (theirs.attributes or {})["gen_ai.usage.input_tokens"] == 11

    def test_of_a_parent_is_not_ended_by_its_forked_child(self, told: Told) -> None:
        atm.add_user_request(token_count=3)
        child = os.fork()
        if child == 0:
            atm.add_model_response(token_count=4)
            told.handle.force_flush()
            os._exit(len(told.spans))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        atm.add_model_response(token_count=4)
        assert len(told.spans) == 1


class TestACallThatADoorSees:
    def call(self, told: Told) -> None:
        span = told.provider.get_tracer("openai").start_span("chat", attributes=CHAT)
        span.set_attributes(USED)
        span.end()

    def test_is_counted_once_with_what_was_told_of_who_pays(self, told: Told) -> None:
        atm.add_user_request(
            "How do I …", model_id="gpt-5.1", username="ann", _additional_metadata_tags=["faq"]
        )
        self.call(told)
        assert atm.add_model_response("Like this.", model_id="gpt-5.1", username="ann") is None
        assert told.rows("source, calls, attempts, total_tokens, user_id, tags") == [
            ("facade", 0, 0, 0, "ann", ["faq"]),
            ("span", 1, 1, 18, "ann", ["faq"]),
        ]
        assert told.used == {"plenty": 18, "calls": 1}
        assert told.metric("atm.calls") == 1
        assert told.metric("atm.tokens") == 18

    def test_only_at_its_end_is_counted_once_too(self, told: Told) -> None:
        atm.add_user_request("How do I …", model_id="gpt-5.1", username="ann")
        tracer = told.provider.get_tracer("late")
        tracer.start_span("chat", attributes={**CHAT, **USED}).end()
        atm.add_model_response("Like this.", model_id="gpt-5.1", username="ann")
        assert told.rows("source, calls, total_tokens, user_id") == [
            ("facade", 0, 0, "ann"),
            ("span", 1, 18, "ann"),
        ]

    def test_beside_an_admitted_one_is_another_call(self, told: Told) -> None:
        with atm.admit(input_tokens=11, output_tokens=7, model="gpt-5.1") as call:
            call.settle(input_tokens=11, output_tokens=7)
        told.provider.get_tracer("late").start_span("chat", attributes={**CHAT, **USED}).end()
        assert told.rows("source, total_tokens") == [("admit", 18), ("span", 18)]

    @pytest.mark.parametrize(
        "answer",
        [
            {"response": {"usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}}},
            {"token_count": 7},
            {"response": "Like this."},
            {"response": None},
        ],
    )
    def test_is_counted_once_where_only_its_answer_is_told(
        self, told: Told, answer: dict[str, Any]
    ) -> None:
        self.call(told)
        assert atm.add_model_response(**answer, model_id="gpt-5.1") is None
        assert told.rows("source, calls, total_tokens") == [("span", 1, 18)]

    def test_that_follows_one_that_was_told_of_has_its_own_answer(self, told: Told) -> None:
        atm.add_user_request("How do I …", model_id="gpt-5.1")
        self.call(told)
        self.call(told)
        assert [atm.add_model_response(token_count=7) for _ in range(2)] == [None, None]
        assert told.used == {"plenty": 36, "calls": 2}

    def test_has_one_answer(self, told: Told) -> None:
        self.call(told)
        atm.add_model_response(token_count=7)
        atm.add_model_response(token_count=7)
        assert told.rows("source, calls, total_tokens") == [("span", 1, 18), ("facade", 0, 7)]

    @pytest.mark.parametrize(
        "other",
        [
            {"token_count": 8},
            {"token_count": 7, "model_id": "claude-9"},
            {"token_count": 7, "username": "ann"},
            {"response": {"usage": {"prompt_tokens": 12, "completion_tokens": 7}}},
        ],
    )
    def test_does_not_swallow_another_answer(self, told: Told, other: dict[str, Any]) -> None:
        self.call(told)
        assert atm.add_model_response(**other) is not None
        assert told.used["plenty"] > 18

    def test_does_not_take_the_answer_of_a_request_that_waits(self, told: Told) -> None:
        self.call(told)
        asked = atm.add_user_request(token_count=1, model_id="gpt-5.1")
        assert atm.add_model_response(token_count=7, model_id="gpt-5.1") == asked

    def test_answers_one_request_that_gave_way(self, told: Told) -> None:
        atm.add_user_request("How do I …", model_id="gpt-5.1")
        self.call(told)
        atm.add_model_response(token_count=5, model_id="gpt-5.1")
        atm.add_model_response(token_count=6, model_id="gpt-5.1")
        assert told.used == {"plenty": 24, "calls": 1}

    def test_of_another_model_is_another_call(self, told: Told) -> None:
        atm.add_user_request(token_count=5, model_id="claude-9")
        self.call(told)
        atm.add_model_response(token_count=6, model_id="claude-9")
        assert told.used == {"plenty": 29, "calls": 2}

    def test_after_the_answer_is_another_call(self, told: Told) -> None:
        atm.add_user_request(token_count=5, model_id="gpt-5.1")
        atm.add_model_response(token_count=6, model_id="gpt-5.1")
        self.call(told)
        assert told.used == {"plenty": 29, "calls": 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "add_user_request(None): expected a text"),
        ({"request": 12}, "add_user_request(12): expected a text"),
        ({"request": b"prompt"}, "add_user_request(bytes): expected a text"),
        ({"token_count": -1}, "token_count=-1: expected tokens"),
        ({"token_count": 1.5}, "token_count=1.5: expected tokens"),
        ({"token_count": True}, "token_count=True: expected tokens"),
        ({"token_count": 1, "model_id": ""}, "model_id='': expected a text"),
        ({"token_count": 1, "username": 7.5}, "username=7.5: expected a text or an integer"),
        ({"token_count": 1, "_additional_metadata_tags": "faq"}, "tags='faq': tags are a list"),
        (
            {"token_count": 1, "_additional_metadata_config": ["a"]},
            "_additional_metadata_config=['a']: expected a dict",
        ),
        (
            {"request": LLMPayload("x", event_type="response")},
            "that is for otel_atm.add_model_response",
        ),
    ],
)
def test_what_cannot_be_used_is_quoted_and_charges_nothing(
    told: Told, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(atm.ConfigurationError) as caught:
        atm.add_user_request(**arguments)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert told.used == {}


def test_before_init_there_is_an_error_that_says_so() -> None:
    with pytest.raises(atm.ConfigurationError, match=r"call otel_atm\.init"):
        atm.add_user_request(token_count=1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "answer"]),
            st.sampled_from(["ann", "bob"]),
            st.sampled_from(["a", "b", None]),
            st.integers(0, 500),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=25)
def test_whatever_is_told_in_whatever_order_every_token_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, str, str | None, int]],
) -> None:
    told = Told(tmp_path_factory.mktemp("told"), ManualClock())
    try:
        for step, user, model, count in steps:
            tell = atm.add_user_request if step == "ask" else atm.add_model_response
            tell(token_count=count, username=user, model_id=model)  # type: ignore[operator]
        asked = sum(count for step, _, _, count in steps if step == "ask")
        answered = sum(count for step, _, _, count in steps if step == "answer")
        calls = sum(step == "ask" for step, *_ in steps)
        sums = told.rows("calls, input_tokens, output_tokens")
        assert [sum(column) for column in zip(*sums, strict=True)] == [calls, asked, answered]
        assert told.used == {"plenty": asked + answered, "calls": calls}
    finally:
        told.handle.shutdown()
        told.provider.shutdown()


def test_roll_ups_have_the_tokens_of_answers_without_calls(told: Told) -> None:
    for tokens in (7, 5):
        atm.add_model_response(token_count=tokens, username="ann")
        told.rows()
    with atm.connect(told.path) as db:
        for relation in ("usage_events", "usage_1m", "usage_1h"):
            query = f"select sum(calls), sum(output_tokens) from {relation}"
            assert db.sql(query).fetchall() == [(0, 12)], relation
