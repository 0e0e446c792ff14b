from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from time import process_time_ns

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_atm import Budget
from otel_atm.matching import Matcher

KEYS = ("user", "team", "model")
# few letters, so that patterns meet values
values = st.dictionaries(st.sampled_from(KEYS), st.none() | st.text("ab-", max_size=4))
tags = st.lists(st.text("ab-", min_size=1, max_size=4), unique=True, max_size=3)
patterns = st.text("ab-*?[]!", min_size=1, max_size=5)


@st.composite
def lists_of_budgets(draw: st.DrawFn) -> list[Budget]:
    matches = draw(
        st.lists(
            st.tuples(
                st.dictionaries(st.sampled_from(KEYS), patterns, max_size=3),
                st.lists(patterns, max_size=2),
            ),
            max_size=8,
        )
    )
    return [
        Budget(limit=place, window="day", match=match | ({"tags": of_tags} if of_tags else {}))
        for place, (match, of_tags) in enumerate(matches, 1)
    ]


def by_trying_all(
    budgets: Sequence[Budget], call: Mapping[str, str | None], tags: Sequence[str]
) -> list[Budget]:
    return [
        budget
        for budget in budgets
        if all(
            any(
                value and fnmatchcase(value, pattern)
                for value in (tags if key == "tags" else [call.get(key)])
            )
            for key, pattern in budget.match
        )
    ]


@given(lists_of_budgets(), values, tags)
@example([Budget(limit=1, window="day", match={"user": "[ab"})], {"user": "[ab"}, [])
@example([Budget(limit=1, window="day", match={"user": "a]*"})], {"user": "a]b"}, [])
@example([Budget(limit=1, window="day", match={"user": "a*a"})], {"user": "a"}, [])
@example([Budget(limit=1, window="day", match={"user": "a*"})], {"user": "a\nb"}, [])
@example([Budget(limit=1, window="day", match={"user": "*"})], {"user": ""}, [])
def test_it_finds_what_trying_all_budgets_finds_in_their_order(
    budgets: list[Budget], call: dict[str, str | None], tags: list[str]
) -> None:
    assert Matcher(budgets).find(call, tags) == by_trying_all(budgets, call, tags)


def found(match: Mapping[str, str | list[str]], *tags: str, **call: str | None) -> bool:
    return Matcher([Budget(limit=1, window="day", match=match)]).find(call, tags) != []


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("prod", ["prod"], ["Prod", "prod2", "", None]),
        ("bot-*", ["bot-", "bot-7"], ["Bot-7", "abot-7", "bot"]),
        ("*-mini", ["gpt-5.1-mini", "-mini"], ["gpt-5.1-mini-2"]),
        ("gpt-?.1*", ["gpt-5.1", "gpt-6.1-mini"], ["gpt-10.1"]),
        ("[ab]1", ["a1", "b1"], ["c1", "[ab]1"]),
        ("[!ab]1", ["c1"], ["a1"]),
        ("[*]", ["*"], ["a"]),
        ("*", ["anything"], ["", None]),
    ],
)
def test_a_pattern_is_a_glob_in_which_case_matters(
    pattern: str, matching: list[str], others: list[str | None]
) -> None:
    assert [found({"env": pattern}, env=value) for value in matching] == [True] * len(matching)
    assert [found({"env": pattern}, env=value) for value in others] == [False] * len(others)


def test_all_patterns_of_a_key_must_match() -> None:
    match: Mapping[str, str | list[str]] = {"model": ["gpt-*", "*-mini"]}
    assert found(match, model="gpt-5.1-mini")
    assert not found(match, model="gpt-5.1")


def test_each_pattern_for_tags_must_match_some_tag() -> None:
    match: Mapping[str, str | list[str]] = {"tags": ["prod", "eu-*"]}
    assert found(match, "eu-1", "prod")
    assert not found(match, "eu-1", "eu-2")
    assert not found(match)


def test_a_key_named_like_the_tags_is_none_of_them() -> None:
    assert not found({"tags": "prod"}, tags="prod")


def test_it_costs_no_more_with_fifty_times_the_budgets() -> None:
    def match(place: int) -> dict[str, str | list[str]]:
        matches: list[dict[str, str | list[str]]] = [
            {"user": f"user-{place}", "env": "prod"},
            {"team": f"team-{place}-*", "env": "prod"},
            {"model": f"*-model-{place}"},
            {"tags": [f"tag-{place}", "all"]},
        ]
        return matches[place % 4]

    def budgets(number: int) -> list[Budget]:
        return [Budget(limit=i, window="day", match=match(i)) for i in range(1, number + 1)]

    call = {"user": "user-4", "team": "team-5-a", "model": "a-model-6", "env": "prod"}
    few, many = Matcher(budgets(20)), Matcher(budgets(1_000))

    def cost(matcher: Matcher) -> int:
        begin = process_time_ns()
        for _ in range(300):
            assert len(matcher.find(call, ("all", "tag-7"))) == 4
        return process_time_ns() - begin

    pairs = [(cost(few), cost(many)) for _ in range(9)]
    assert min(many for _, many in pairs) < 3 * min(few for few, _ in pairs)
