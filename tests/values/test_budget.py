from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_atm import Budget, BudgetError
from otel_atm.budget import read_budgets
from otel_atm.budget_text import UNITS
from otel_atm.window import WINDOWS

limits = st.integers(min_value=1, max_value=2**63 - 1)
keys = st.from_regex(r"[^\W\d]\w{0,8}", fullmatch=True).filter(str.isidentifier)
budgets = st.builds(
    Budget,
    limit=limits,
    unit=st.sampled_from(UNITS),
    window=st.sampled_from(WINDOWS),
    by=st.lists(keys, unique=True, max_size=3),
    match=st.dictionaries(keys, st.text(min_size=1, max_size=12), max_size=3),
)


def fields(budget: Budget) -> tuple[Any, ...]:
    return budget.limit, budget.unit, budget.window, budget.by, budget.match, budget.name


class TestText:
    @given(budgets)
    @example(Budget(limit=1, window="day", by=["per", "where"], match={"where": 'a "b" \\'}))
    @example(Budget(limit=1, window="day", match={"team": "a, b=c\n/ where"}))
    def test_the_canonical_text_of_a_budget_is_that_budget(self, budget: Budget) -> None:
        assert Budget(str(budget)) == budget

    @given(budgets)
    def test_and_it_is_canonical(self, budget: Budget) -> None:
        assert str(Budget(str(budget))) == str(budget)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("500 tokens / minute", (500, "tokens", "minute", (), (), None)),
            ("  500   tokens/minute ", (500, "tokens", "minute", (), (), None)),
            ("1 token / day", (1, "tokens", "day", (), (), None)),
            ("20k tokens / hour", (20_000, "tokens", "hour", (), (), None)),
            ("1.5M tokens / week", (1_500_000, "tokens", "week", (), (), None)),
            ("2bn tokens / month", (2_000_000_000, "tokens", "month", (), (), None)),
            ("1_000 tokens / day", (1_000, "tokens", "day", (), (), None)),
            ("1,000,000 tokens / day", (1_000_000, "tokens", "day", (), (), None)),
            ("0.5k tokens / day", (500, "tokens", "day", (), (), None)),
            ("9 input tokens / day", (9, "input_tokens", "day", (), (), None)),
            ("9 output / day", (9, "output_tokens", "day", (), (), None)),
            ("9 calls / day", (9, "requests", "day", (), (), None)),
            ("1 request / day", (1, "requests", "day", (), (), None)),
            (
                "5 tokens / day per user, model",
                (5, "tokens", "day", ("user", "model"), (), None),
            ),
            (
                "5 tokens / day where team=ml, env=prod-2.eu@x:1+1",
                (5, "tokens", "day", (), (("env", "prod-2.eu@x:1+1"), ("team", "ml")), None),
            ),
            (
                '5 tokens / day per per where where = "x"',
                (5, "tokens", "day", ("per",), (("where", "x"),), None),
            ),
            (
                r'5 tokens / day where team="R & D \"core\" \\"',
                (5, "tokens", "day", (), (("team", 'R & D "core" \\'),), None),
            ),
        ],
    )
    def test_can_be_said_in_words(self, text: str, expected: tuple[Any, ...]) -> None:
        assert fields(Budget(text)) == expected

    @pytest.mark.parametrize(
        ("by", "match"),
        [
            (["विभाग"], {}),  # with vowel signs, which are no letters
            (["cafe\N{COMBINING ACUTE ACCENT}"], {}),  # as some keyboards write é
            ([], {"a·b": "x"}),
        ],
    )
    def test_keys_may_be_of_any_script(self, by: list[str], match: dict[str, str]) -> None:
        budget = Budget(limit=1, window="day", by=by, match=match)
        assert Budget(str(budget)) == budget

    @pytest.mark.parametrize("amount", ["9223372036854775807", "9,223,372,036,854,775,807"])
    def test_the_largest_limit_is_what_a_store_can_count_to(self, amount: str) -> None:
        assert Budget(f"{amount} tokens / day").limit == 2**63 - 1

    def test_has_a_name_beside_it(self) -> None:
        budget = Budget("5 tokens / day per user", name="daily")
        assert fields(budget) == (5, "tokens", "day", ("user",), (), "daily")
        assert (str(budget), budget.label) == ("5 tokens / day per user", "daily")


MALFORMED = [
    (
        "",
        "expected an amount such as 500, 20k or 1.5M (at the end)",
    ),
    (
        "tokens / minute",
        """
        expected an amount such as 500, 20k or 1.5M (at column 1)
          tokens / minute
          ^^^^^^
        """,
    ),
    (
        "-5 tokens / minute",
        """
        expected an amount such as 500, 20k or 1.5M (at column 1)
          -5 tokens / minute
          ^^
        """,
    ),
    (
        "5x tokens / minute",
        """
        expected an amount such as 500, 20k or 1.5M (at column 1)
          5x tokens / minute
          ^^
        """,
    ),
    (
        "0 tokens / minute",
        """
        expected a whole amount > 0 (at column 1)
          0 tokens / minute
          ^
        """,
    ),
    *(
        (
            f"{amount} tokens / minute",
            f"""
            expected an amount of at most 9223372036854775807 (at column 1)
              {amount} tokens / minute
              {"^" * len(amount)}
            """,
        )
        for amount in ("9223372036854775808", "10000000000bn", "1" * 5_000)
    ),
    (
        "1.5 tokens / minute",
        """
        expected a whole amount > 0 (at column 1)
          1.5 tokens / minute
          ^^^
        """,
    ),
    (
        "500",
        """
        unknown unit ''; expected tokens, input_tokens, output_tokens, requests (at the end)
          500
             ^
        """,
    ),
    (
        "500 tokns / minute",
        """
        unknown unit 'tokns'; expected tokens, input_tokens, output_tokens, requests; did you \
mean 'tokens'? (at column 5)
          500 tokns / minute
              ^^^^^
        """,
    ),
    (
        "50 USD / month",
        """
        the unit 'USD' comes in a later version; now: tokens, input_tokens, output_tokens, \
requests (at column 4)
          50 USD / month
             ^^^
        """,
    ),
    (
        "500 tokens",
        """
        expected '/' and a window, e.g. '/ minute' (at the end)
          500 tokens
                    ^
        """,
    ),
    (
        "500 tokens per minute",
        """
        expected '/' and a window, e.g. '/ minute' (at column 12)
          500 tokens per minute
                     ^^^
        """,
    ),
    (
        "500 tokens / minit",
        """
        unknown window 'minit'; expected minute, hour, day, week, month; did you mean 'minute'? \
(at column 14)
          500 tokens / minit
                       ^^^^^
        """,
    ),
    (
        "500 tokens / ",
        """
        unknown window ''; expected minute, hour, day, week, month (at the end)
          500 tokens /\N{SPACE}
                      ^
        """,
    ),
    *(
        (
            f"500 tokens / {window}",
            f"""
            the window {window!r} comes in a later version; now: minute, hour, day, week, month \
(at column 14)
              500 tokens / {window}
                           {"^" * len(window)}
            """,
        )
        for window in ("call", "trace", "session", "lifetime", "rolling")
    ),
    (
        "500 tokens / minute for user",
        """
        expected 'per', 'where' or the end (at column 21)
          500 tokens / minute for user
                              ^^^
        """,
    ),
    (
        "500 tokens / minute per",
        """
        expected a scope key, e.g. user, team or model (at the end)
          500 tokens / minute per
                                 ^
        """,
    ),
    (
        "500 tokens / minute per 2nd",
        """
        expected a scope key, e.g. user, team or model (at column 25)
          500 tokens / minute per 2nd
                                  ^^^
        """,
    ),
    (
        "500 tokens / minute per user user",
        """
        expected 'where' or the end (at column 30)
          500 tokens / minute per user user
                                       ^^^^
        """,
    ),
    (
        "500 tokens / minute per user, user",
        """
        this is there twice (at column 31)
          500 tokens / minute per user, user
                                        ^^^^
        """,
    ),
    (
        "500 tokens / minute where env",
        """
        expected '=' and a value for 'env' (at the end)
          500 tokens / minute where env
                                       ^
        """,
    ),
    (
        "500 tokens / minute where env=",
        """
        expected a value for 'env': a word, or a text in double quotes (at the end)
          500 tokens / minute where env=
                                        ^
        """,
    ),
    (
        '500 tokens / minute where env=""',
        """
        expected a value for 'env': a word, or a text in double quotes (at column 31)
          500 tokens / minute where env=""
                                        ^^
        """,
    ),
    (
        'day 5 tokens where env="prod',
        """
        expected an amount such as 500, 20k or 1.5M (at column 1)
          day 5 tokens where env="prod
          ^^^
        """,
    ),
    (
        '5 tokens / day where env="prod',
        """
        expected a value for 'env': a word, or a text in double quotes (at column 26)
          5 tokens / day where env="prod
                                   ^
        """,
    ),
    (
        "5 tokens / day where env=prod per user",
        """
        expected the end (at column 31)
          5 tokens / day where env=prod per user
                                        ^^^
        """,
    ),
    (
        "5 tokens / day where env=prod, env=prod",
        """
        this is there twice (at column 32)
          5 tokens / day where env=prod, env=prod
                                         ^^^
        """,
    ),
    (
        "5 tokens / day where env=prod, env=dev",
        """
        this is there twice (at column 32)
          5 tokens / day where env=prod, env=dev
                                         ^^^
        """,
    ),
]


def dedented(shown: str) -> str:
    indent = re.match(r"\n( +)", shown)
    if not indent:
        return shown
    lines = shown.split("\n")[1:-1]
    return "\n".join(line.removeprefix(indent[1]) for line in lines)


@pytest.mark.parametrize(("text", "shown"), MALFORMED, ids=[text[:40] for text, _ in MALFORMED])
def test_a_malformed_text_is_shown_with_what_is_wrong_where(text: str, shown: str) -> None:
    with pytest.raises(BudgetError) as raised:
        Budget(text)
    assert (str(raised.value), raised.value.text) == (dedented(shown), text)


@given(st.text(max_size=30) | st.from_regex(r"\d+ tokens ?/? ?(day|per|where|=|,|\"| )*"))
def test_any_other_text_is_a_budget_or_a_budget_error(text: str) -> None:
    try:
        budget = Budget(text)
    except BudgetError:
        return
    assert Budget(str(budget)) == budget


class TestFields:
    def test_say_the_same_as_a_text(self) -> None:
        said = Budget("500 tokens / minute per user, model where env=prod, team=ml")
        built = Budget(
            limit=500,
            unit="tokens",
            window="minute",
            by=("user", "model"),
            match={"team": "ml", "env": "prod"},
        )
        assert (built, hash(built), str(built)) == (said, hash(said), str(said))

    def test_default_to_tokens_of_everybody(self) -> None:
        assert fields(Budget(limit=5, window="day")) == (5, "tokens", "day", (), (), None)

    def test_take_one_key_without_a_list(self) -> None:
        assert Budget(limit=5, window="day", by="user").by == ("user",)

    @pytest.mark.parametrize(
        ("given_fields", "message"),
        [
            ({}, "a budget needs limit and window; given: nothing"),
            ({"limit": 5}, "a budget needs window; given: ['limit']"),
            ({"window": "day", "by": "user"}, "a budget needs limit; given: ['window', 'by']"),
            ({"limit": 0, "window": "day"}, "limit=0: expected an integer > 0"),
            ({"limit": -1, "window": "day"}, "limit=-1: expected an integer > 0"),
            ({"limit": 1.0, "window": "day"}, "limit=1.0: expected an integer > 0"),
            ({"limit": 2**63, "window": "day"}, f"limit={2**63}: expected at most {2**63 - 1}"),
            ({"limit": True, "window": "day"}, "limit=True: expected an integer > 0"),
            ({"limit": "5", "window": "day"}, "limit='5': expected an integer > 0"),
            (
                {"limit": 5, "window": "dya"},
                "window='dya': expected one of minute, hour, day, week, month; did you mean 'day'?",
            ),
            (
                {"limit": 5, "window": "lifetime"},
                "window='lifetime' comes in a later version; now: minute, hour, day, week, month",
            ),
            (
                {"limit": 5, "window": None},
                "window=None: expected one of minute, hour, day, week, month",
            ),
            (
                {"limit": 5, "window": "day", "unit": "usd"},
                (
                    "unit='usd' comes in a later version; now: tokens, input_tokens, "
                    "output_tokens, requests"
                ),
            ),
            (
                {"limit": 5, "window": "day", "unit": "token"},
                (
                    "unit='token': expected one of tokens, input_tokens, output_tokens, requests; "
                    "did you mean 'tokens'?"
                ),
            ),
            ({"limit": 5, "window": "day", "by": 5}, "by=5: expected a scope key or several"),
            (
                {"limit": 5, "window": "day", "by": ["a b"]},
                "by=['a b']: expected scope keys, which are identifiers; 'a b' is none",
            ),
            (
                {"limit": 5, "window": "day", "by": ["user", "user"]},
                "by=['user', 'user']: expected each key once",
            ),
            (
                {"limit": 5, "window": "day", "match": ["env"]},
                'match=[\'env\']: expected a mapping of scope keys to values, e.g. {"env": "prod"}',
            ),
            (
                {"limit": 5, "window": "day", "match": {"a-b": "x"}},
                "match={'a-b': 'x'}: expected scope keys, which are identifiers; 'a-b' is none",
            ),
            (
                {"limit": 5, "window": "day", "match": {"env": ""}},
                "match={'env': ''}: expected texts as values; 'env' has ''",
            ),
            (
                {"limit": 5, "window": "day", "match": {"env": 5}},
                "match={'env': 5}: expected texts as values; 'env' has 5",
            ),
            (
                {"limit": 5, "window": "day", "name": " "},
                "name=' ': expected a text that is not blank",
            ),
        ],
    )
    def test_that_cannot_be_used_are_quoted(
        self, given_fields: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(BudgetError) as raised:
            Budget(**given_fields)
        assert str(raised.value) == message

    def test_beside_a_text_are_an_error(self) -> None:
        with pytest.raises(BudgetError) as raised:
            Budget("5 tokens / day", limit=6, by="user")
        assert str(raised.value) == (
            "a budget is a text or fields, not both: also given ['limit', 'by']\n  5 tokens / day"
        )

    def test_that_are_unknown_raise_as_python_does(self) -> None:
        for unknown in ("limt", "action", "tz"):
            with pytest.raises(TypeError, match=f"unexpected keyword argument '{unknown}'"):
                Budget(window="day", **{unknown: 5})

    def test_something_that_is_no_text_is_refused(self) -> None:
        with pytest.raises(BudgetError) as raised:
            Budget(500)  # type: ignore[arg-type]
        assert str(raised.value) == "a budget's text is a str, not 500"


@pytest.mark.parametrize("field", ["limit", "unit", "window", "by", "match", "name"])
def test_nothing_of_a_budget_can_be_changed(field: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(Budget("5 tokens / day"), field, None)


class TestIdentity:
    def test_is_the_name(self) -> None:
        one = Budget("5 tokens / day", name="all")
        assert one.identity == Budget("9 requests / hour per user", name="all").identity

    def test_is_all_but_the_limit_without_one(self) -> None:
        one = Budget("5 tokens / day per user where env=prod")
        others = [
            Budget(text).identity
            for text in (
                "6 tokens / day per user where env=prod",
                "5 requests / day per user where env=prod",
                "5 tokens / hour per user where env=prod",
                "5 tokens / day per team where env=prod",
                "5 tokens / day per user where env=dev",
            )
        ]
        assert [identity == one.identity for identity in others] == [True, *[False] * 4]


class TestReadBudgets:
    def test_takes_budgets_and_texts_in_their_order(self) -> None:
        built = Budget(limit=5, window="day")
        assert read_budgets(iter([built, "9 requests / hour"])) == (
            built,
            Budget("9 requests / hour"),
        )

    def test_refuses_two_of_one_identity(self) -> None:
        with pytest.raises(BudgetError) as raised:
            read_budgets(["5 tokens / day per user", "1k tokens / day per user"])
        assert str(raised.value) == (
            "two budgets of one identity: 5 tokens / day per user and 1000 tokens / day per user; "
            "name one of them"
        )

    def test_refuses_two_of_one_name(self) -> None:
        with pytest.raises(BudgetError, match="two budgets of one identity"):
            read_budgets([Budget("5 tokens / day", name="a"), Budget("5 calls / day", name="a")])

    def test_takes_twins_once_one_of_them_has_a_name(self) -> None:
        twins = [Budget("5 tokens / day"), Budget("9 tokens / day", name="soft")]
        assert read_budgets(twins) == tuple(twins)

    def test_refuses_one_text_instead_of_a_list(self) -> None:
        with pytest.raises(BudgetError) as raised:
            read_budgets("5 tokens / day")
        assert str(raised.value) == (
            "budgets='5 tokens / day': give a list of budgets; budget files come in a later version"
        )

    def test_refuses_what_is_neither(self) -> None:
        with pytest.raises(BudgetError) as raised:
            read_budgets([5])  # type: ignore[list-item]
        assert str(raised.value) == "5 is neither a Budget nor the text of one"
