from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm import ConfigurationError, Scope, context
from otel_atm.scope import NOBODY, current_scope

keys = st.dictionaries(
    st.sampled_from(["user", "team", "app", "department"]), st.text(min_size=1, max_size=5)
)
tags = st.frozensets(st.text(min_size=1, max_size=3), max_size=3)
scopes = st.builds(lambda keys, tags: Scope(tags=tags, **keys), keys, tags)


class TestScope:
    def test_is_a_mapping_of_its_keys(self) -> None:
        scope = Scope(user="ann", department="finance", tags=["prod"])
        assert dict(scope) == {"user": "ann", "department": "finance"}
        assert (len(scope), "team" in scope, scope.get("team")) == (2, False, None)

    def test_keeps_integers_as_text_and_leaves_out_what_is_not_there(self) -> None:
        assert dict(Scope(user=7, team=0, app=None, env="")) == {"user": "7", "team": "0"}

    def test_its_tags_are_a_set(self) -> None:
        assert Scope(tags=["b", "a", "b"]).tags == ("a", "b")

    def test_shows_itself_as_it_would_be_written(self) -> None:
        assert repr(Scope(user="ann", tags=["b", "a"])) == "Scope(user='ann', tags=['a', 'b'])"
        assert repr(NOBODY) == "Scope()"

    @given(scopes, scopes)
    def test_equal_scopes_have_equal_keys_tags_and_hashes(self, one: Scope, other: Scope) -> None:
        assert (one == other) == (dict(one) == dict(other) and one.tags == other.tags)
        again = Scope(tags=one.tags, **dict(reversed(list(one.items()))))
        assert (again, hash(again)) == (one, hash(one))

    def test_is_equal_to_no_other_mapping(self) -> None:
        assert Scope(user="ann") != {"user": "ann"}

    @given(scopes, scopes)
    def test_or_lets_the_right_keys_win_and_adds_the_tags(self, one: Scope, other: Scope) -> None:
        both = one | other
        assert dict(both) == dict(one) | dict(other)
        assert set(both.tags) == {*one.tags, *other.tags}

    @given(scopes, scopes, scopes)
    def test_or_may_be_grouped_at_will(self, one: Scope, two: Scope, three: Scope) -> None:
        assert (one | two) | three == one | (two | three)

    def test_cannot_be_changed(self) -> None:
        scope: Any = Scope(user="ann")
        with pytest.raises(TypeError):
            scope["user"] = "bob"
        with pytest.raises(TypeError):
            del scope["user"]

    def test_or_changes_neither_side(self) -> None:
        one, other = Scope(user="ann", tags=["a"]), Scope(user="bob", tags=["b"])
        assert (one | other, one, other) == (
            Scope(user="bob", tags=["a", "b"]),
            Scope(user="ann", tags=["a"]),
            Scope(user="bob", tags=["b"]),
        )

    @pytest.mark.parametrize("value", [1.5, True, b"ann", ["ann"], object])
    def test_a_value_is_text_or_an_integer(self, value: Any) -> None:
        with pytest.raises(ConfigurationError) as raised:
            Scope(user=value)
        assert str(raised.value) == f"user={value!r}: a scope value is text or an integer"

    @pytest.mark.parametrize("key", ["provider", "model"])
    def test_what_the_call_brings_cannot_be_set(self, key: str) -> None:
        with pytest.raises(ConfigurationError) as raised:
            Scope(**{key: "x"})
        expected = f"{key}='x': a scope cannot set {key!r}, the call brings it"
        assert str(raised.value) == expected

    @pytest.mark.parametrize(
        ("tags", "message"),
        [
            ("prod", "tags='prod': tags are a list of labels, e.g. ['prod']"),
            ([""], "tags: '' is not a label; a label is non-empty text"),
            ([7], "tags: 7 is not a label; a label is non-empty text"),
        ],
    )
    def test_tags_are_a_list_of_labels(self, tags: Any, message: str) -> None:
        with pytest.raises(ConfigurationError) as raised:
            Scope(tags=tags)
        assert str(raised.value) == message

    @pytest.mark.parametrize("tags", [None, 7, [["prod"]]])
    def test_tags_of_another_type_are_a_configuration_error_too(self, tags: Any) -> None:
        with pytest.raises(ConfigurationError):
            Scope(tags=tags)

    def test_crosses_processes_and_is_found_there_under_an_equal_one(self) -> None:
        sent = pickle.dumps(Scope(user="ann", tags=["prod"]))
        look_up = (
            "import sys, pickle, otel_atm\n"
            "sent = pickle.load(sys.stdin.buffer)\n"
            "own = otel_atm.Scope(user='ann', tags=['prod'])\n"
            "sys.exit(not (sent == own and sent in {own}))"
        )
        ran = subprocess.run([sys.executable, "-c", look_up], input=sent, check=False)
        assert ran.returncode == 0


class TestContext:
    def test_sets_who_pays_for_its_block_and_gives_it_back(self) -> None:
        with context(user="ann", team="ml", tags=["prod"]) as scope:
            assert scope == current_scope() == Scope(user="ann", team="ml", tags=["prod"])
        assert current_scope() == NOBODY

    def test_inner_keys_override_outer_ones_and_tags_add_up(self) -> None:
        with context(user="ann", team="ml", tags=["prod"]):
            with context(user="bob", tags=["batch"]):
                inner = current_scope()
            outer = current_scope()
        assert inner == Scope(user="bob", team="ml", tags=["batch", "prod"])
        assert outer == Scope(user="ann", team="ml", tags=["prod"])

    def test_an_inner_none_hides_nothing(self) -> None:
        with context(user="ann"), context(user=None) as scope:
            assert scope == Scope(user="ann")

    def test_ends_with_its_block_when_that_fails(self) -> None:
        with pytest.raises(KeyError), context(user="ann"):
            raise KeyError
        assert current_scope() == NOBODY

    def test_a_bad_value_is_refused_before_the_block_is_entered(self) -> None:
        with pytest.raises(ConfigurationError):
            context(user=1.5)  # type: ignore[arg-type]

    def test_one_block_may_be_entered_again_inside_itself(self) -> None:
        block = context(user="ann")
        with block, context(user="bob"), block as inner:
            assert inner == Scope(user="ann")
        assert current_scope() == NOBODY

    def test_equal_blocks_share_one_scope(self) -> None:
        with context(user="shared") as one:
            pass
        with context(user="shared") as other:
            pass
        assert one is other

    def test_tasks_each_have_their_own(self) -> None:
        async def work(user: str, inside: asyncio.Barrier) -> Scope:
            async with context(user=user):
                await inside.wait()
                return current_scope()

        async def both() -> list[Scope]:
            inside = asyncio.Barrier(2)
            async with context(team="ml"):
                tasks = [asyncio.create_task(work(user, inside)) for user in ("ann", "bob")]
            return [*await asyncio.gather(*tasks), current_scope()]

        assert asyncio.run(both()) == [
            Scope(team="ml", user="ann"),
            Scope(team="ml", user="bob"),
            NOBODY,
        ]

    def test_a_copied_context_keeps_who_paid_when_it_was_copied(self) -> None:
        with context(user="ann"):
            copied = copy_context()
        assert (copied.run(current_scope), current_scope()) == (Scope(user="ann"), NOBODY)

    def test_a_block_in_a_copied_context_stays_there(self) -> None:
        block = context(user="ann")
        copied = copy_context()
        copied.run(block.__enter__)
        assert (copied.run(current_scope), current_scope()) == (Scope(user="ann"), NOBODY)
        copied.run(block.__exit__, None, None, None)
        assert copied.run(current_scope) == NOBODY

    def test_asyncio_to_thread_carries_it_and_a_bare_thread_starts_with_nobody(self) -> None:
        with context(user="ann"):
            assert asyncio.run(asyncio.to_thread(current_scope)) == Scope(user="ann")
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(current_scope).result() == NOBODY

    def test_an_abandoned_async_generator_takes_nothing_from_whoever_closes_it(self) -> None:
        async def stream() -> AsyncIterator[Scope]:
            with context(user="ann"):
                yield current_scope()

        async def abandon() -> list[Scope]:
            chunks: Any = stream()
            first = await asyncio.create_task(anext(chunks))
            async with context(user="bob"):
                await chunks.aclose()
                return [first, current_scope()]

        assert asyncio.run(abandon()) == [Scope(user="ann"), Scope(user="bob")]

    def test_a_generator_closed_inside_another_block_takes_its_payer_with_it(self) -> None:
        def stream() -> Iterator[Scope]:
            with context(user="ann"):
                yield current_scope()

        chunks = stream()
        first = next(chunks)  # a generator's block is its caller's too, until it is closed
        with context(team="ml"):
            chunks.close()  # type: ignore[attr-defined]
            inside = current_scope()
        assert (first, inside, current_scope()) == (Scope(user="ann"), Scope(team="ml"), NOBODY)

    def test_a_block_shared_by_tasks_bills_nobody_after_it_ends(self) -> None:
        finance = context(team="finance")

        async def work(entered: asyncio.Event, leave: asyncio.Event) -> Scope:
            async with finance:
                entered.set()
                await leave.wait()
            return current_scope()

        async def both() -> list[Scope]:
            events = [asyncio.Event() for _ in range(4)]
            first = asyncio.create_task(work(events[0], events[1]))
            await events[0].wait()
            second = asyncio.create_task(work(events[2], events[3]))
            await events[2].wait()
            events[1].set()  # the first one entered leaves first
            left_first = await first
            events[3].set()
            return [left_first, await second]

        assert asyncio.run(both()) == [NOBODY, NOBODY]

    def test_a_block_shared_by_threads_bills_nobody_after_it_ends(self) -> None:
        finance, left = context(team="finance"), []
        entered, leave = threading.Event(), threading.Event()

        def first() -> None:
            with finance:
                entered.set()
                leave.wait(10)
            left.append(current_scope())

        thread = threading.Thread(target=first)
        thread.start()
        assert entered.wait(10)
        with finance:
            leave.set()
            thread.join(10)
        assert [*left, current_scope()] == [NOBODY, NOBODY]
