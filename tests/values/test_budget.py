from __future__ import annotations

import pickle
import re
from copy import deepcopy
from dataclasses import FrozenInstanceError
from decimal import Decimal
from math import ceil
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_atm import Budget, BudgetError
from otel_atm.budget import read_budgets
from otel_atm.budget_text import MAX_LIMIT, UNITS
from otel_atm.window import WINDOWS, Window

keys = st.from_regex(r"[^\W\d]\w{0,8}", fullmatch=True).filter(str.isidentifier)
windows = st.sampled_from(WINDOWS) | st.builds(
    lambda count, unit: f"rolling {count} {unit}s",
    st.integers(1, 500),
    st.sampled_from(["second", "minute", "hour", "day", "week"]),
)
plain_patterns = st.text(min_size=1, max_size=12)
globs = plain_patterns.map(lambda text: f"{text}*")


def budgets_of(unit: str, caps: st.SearchStrategy[Any]) -> st.SearchStrategy[Budget]:
    return st.builds(
        Budget,
        limit=caps,
        unit=st.just(unit),
        window=windows,
        by=st.lists(keys.filter("tags".__ne__), unique=True, max_size=3),
        match=st.dictionaries(
            keys, plain_patterns | st.lists(globs, min_size=1, max_size=2), max_size=3
        ),
    )


budgets = st.one_of(
    *(budgets_of(unit, st.integers(1, MAX_LIMIT)) for unit in UNITS if unit != "usd"),
    budgets_of("usd", st.integers(1, MAX_LIMIT).map(lambda cap: Decimal(cap).scaleb(-6))),
)


def fields(budget: Budget) -> tuple[Any, ...]:
    return budget.limit, budget.unit, budget.window, budget.by, budget.match, budget.name


class TestText:
    @given(budgets)
    @example(Budget(limit=1, window="day", by=["per", "where"], match={"where": 'a "b" \\'}))
    @example(Budget(limit=1, window="day", match={"team": "a, b=c\n/ where"}))
    @example(Budget(limit=1, window="day", match={"tags": ["prod", "dev"], "model": ["a*", "b"]}))
    @example(Budget(limit=MAX_LIMIT // 10**6, unit="usd", window="rolling 60 minutes"))
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
            ("50 USD / month", (50, "usd", "month", (), (), None)),
            ("$50 / month", (50, "usd", "month", (), (), None)),
            ("0.25 usd / call", (0.25, "usd", "call", (), (), None)),
            ("$1,000.50 / day", (1000.5, "usd", "day", (), (), None)),
            ("$1.5k/day", (1500, "usd", "day", (), (), None)),
            ("0.000001 USD / day", (0.000001, "usd", "day", (), (), None)),
            ("20k tokens / call", (20_000, "tokens", "call", (), (), None)),
            ("30 requests / session", (30, "requests", "session", (), (), None)),
            ("100k tokens / trace", (100_000, "tokens", "trace", (), (), None)),
            ("1M tokens / lifetime", (1_000_000, "tokens", "lifetime", (), (), None)),
            ("5 tokens / rolling minute", (5, "tokens", "rolling minute", (), (), None)),
            (
                "5 tokens / rolling 5 minutes per user",
                (5, "tokens", "rolling 5 minutes", ("user",), (), None),
            ),
            ("5 tokens / rolling 60 minutes", (5, "tokens", "rolling hour", (), (), None)),
            (
                "5 tokens / day per user, model",
                (5, "tokens", "day", ("user", "model"), (), None),
            ),
            (
                "5 tokens / day where team=ml, env=prod-2.eu@x:1+1",
                (5, "tokens", "day", (), (("env", "prod-2.eu@x:1+1"), ("team", "ml")), None),
            ),
            (
                '5 tokens / day where user=bot-*, team=*, tags=prod, tags="eu-*", model="*[ab]"',
                (
                    5,
                    "tokens",
                    "day",
                    (),
                    (
                        ("model", "*[ab]"),
                        ("tags", "eu-*"),
                        ("tags", "prod"),
                        ("team", "*"),
                        ("user", "bot-*"),
                    ),
                    None,
                ),
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
        "expected an amount such as 500, 20k, 1.5M or $50 (at the end)",
    ),
    (
        "tokens / minute",
        """
        expected an amount such as 500, 20k, 1.5M or $50 (at column 1)
          tokens / minute
          ^^^^^^
        """,
    ),
    (
        "-5 tokens / minute",
        """
        expected an amount such as 500, 20k, 1.5M or $50 (at column 1)
          -5 tokens / minute
          ^^
        """,
    ),
    (
        "5x tokens / minute",
        """
        expected an amount such as 500, 20k, 1.5M or $50 (at column 1)
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
        unknown unit ''; expected tokens, input_tokens, output_tokens, requests, usd (at the end)
          500
             ^
        """,
    ),
    (
        "500 tokns / minute",
        """
        unknown unit 'tokns'; expected tokens, input_tokens, output_tokens, requests, usd; did \
you mean 'tokens'? (at column 5)
          500 tokns / minute
              ^^^^^
        """,
    ),
    (
        "50 Usd / month",
        """
        unknown unit 'Usd'; expected tokens, input_tokens, output_tokens, requests, usd; did you \
mean 'usd'? (at column 4)
          50 Usd / month
             ^^^
        """,
    ),
    (
        "$50 USD / month",
        """
        expected '/' and a window, e.g. '/ minute' (at column 5)
          $50 USD / month
              ^^^
        """,
    ),
    *(
        (
            f"{amount} / month",
            f"""
            expected an amount > 0 with at most 6 decimals (at column 1)
              {amount} / month
              {"^" * (len(amount.split()[0]))}
            """,
        )
        for amount in ("0.0000001 USD", "$0", "$1.2345678")
    ),
    (
        "$9223372036855 / month",
        """
        expected an amount of at most 9223372036854.775807 (at column 1)
          $9223372036855 / month
          ^^^^^^^^^^^^^^
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
        expected '/' and a window: write '/ minute' (at column 12)
          500 tokens per minute
                     ^^^
        """,
    ),
    (
        "500 tokens per user",
        """
        expected '/' and a window, e.g. '/ minute' (at column 12)
          500 tokens per user
                     ^^^
        """,
    ),
    *(
        (
            f"500 tokens / {window}",
            f"""
            unknown window {window.split()[0]!r}; expected minute, hour, day, week, month, \
lifetime, call, trace, session or 'rolling 5 minutes' and the like; did you mean {hint!r}? \
(at column 14)
              500 tokens / {window}
                           {"^" * len(window.split()[0])}
            """,
        )
        for window, hint in (
            ("minit", "minute"),
            ("Day", "day"),
            ("daily", "day"),
            ("5 minutes", "rolling 5 minutes"),
        )
    ),
    (
        "500 tokens / ",
        """
        unknown window ''; expected minute, hour, day, week, month, lifetime, call, trace, session \
or 'rolling 5 minutes' and the like (at the end)
          500 tokens /\N{SPACE}
                      ^
        """,
    ),
    (
        "500 tokens / rolling month",
        """
        expected seconds, minutes, hours, days or weeks, e.g. 'rolling 5 minutes' (at column 22)
          500 tokens / rolling month
                               ^^^^^
        """,
    ),
    (
        "500 tokens / rolling 5 minits",
        """
        expected seconds, minutes, hours, days or weeks, e.g. 'rolling 5 minutes'; did you mean \
'minutes'? (at column 24)
          500 tokens / rolling 5 minits
                                 ^^^^^^
        """,
    ),
    (
        "500 tokens / rolling 0 days",
        """
        expected a length above 0 and of at most 3650 days (at column 22)
          500 tokens / rolling 0 days
                               ^
        """,
    ),
    (
        "500 tokens / day per user, tags",
        """
        a call can have several tags, so they are not counted apart (at column 28)
          500 tokens / day per user, tags
                                     ^^^^
        """,
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
        expected an amount such as 500, 20k, 1.5M or $50 (at column 1)
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
        no value is both 'prod' and 'dev' (at column 32)
          5 tokens / day where env=prod, env=dev
                                         ^^^
        """,
    ),
    (
        "5 tokens / day where tags=eu, tags=eu",
        """
        this is there twice (at column 31)
          5 tokens / day where tags=eu, tags=eu
                                        ^^^^
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
            ({"limit": 0, "window": "day"}, "limit=0: expected a whole amount > 0"),
            ({"limit": -1, "window": "day"}, "limit=-1: expected a whole amount > 0"),
            ({"limit": 1.0, "window": "day"}, "limit=1.0: expected an integer > 0"),
            ({"limit": 1.0, "unit": "requests"}, "a budget needs window; given: ['limit', 'unit']"),
            (
                {"limit": 2**63, "window": "day"},
                f"limit={2**63}: expected an amount of at most {2**63 - 1}",
            ),
            ({"limit": True, "window": "day"}, "limit=True: expected an integer > 0"),
            ({"limit": None, "window": "day"}, "limit=None: expected an integer > 0"),
            (
                {"limit": "1.5", "window": "day"},
                "limit='1.5': expected a whole amount > 0",
            ),
            (
                {"limit": "5 tokens / day", "window": "day"},
                "limit='5 tokens / day': expected the end (at column 10)",
            ),
            (
                {"limit": "5 USD", "unit": "requests", "window": "day"},
                "limit='5 USD': expected an amount of the unit 'requests'",
            ),
            *(
                (
                    {"limit": limit, "unit": "usd", "window": "day"},
                    f"limit={limit!r}: expected an amount > 0 with at most 6 decimals",
                )
                for limit in (0, -0.5, 0.1234567, Decimal("1E-7"))
            ),
            *(
                (
                    {"limit": limit, "unit": "usd", "window": "day"},
                    f"limit={limit!r}: expected a number > 0",
                )
                for limit in (True, float("nan"), float("inf"), Decimal("1E+999999"), None)
            ),
            (
                {"limit": 5, "window": "dya"},
                (
                    "window='dya': expected one of minute, hour, day, week, month, lifetime, call, "
                    "trace, session or 'rolling 5 minutes' and the like; did you mean 'day'?"
                ),
            ),
            (
                {"limit": 5, "window": None},
                (
                    "window=None: expected one of minute, hour, day, week, month, lifetime, call, "
                    "trace, session or 'rolling 5 minutes' and the like"
                ),
            ),
            (
                {"limit": 5, "window": "day", "unit": "token"},
                (
                    "unit='token': expected one of tokens, input_tokens, output_tokens, requests, "
                    "usd; did you mean 'tokens'?"
                ),
            ),
            (
                {"limit": 5, "window": "day", "unit": "USD"},
                (
                    "unit='USD': expected one of tokens, input_tokens, output_tokens, requests, "
                    "usd; did you mean 'usd'?"
                ),
            ),
            (
                {"limit": 5, "window": "day", "by": "tags"},
                "by='tags': expected keys of which a call has one value; it can have several tags",
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
                (
                    "match=['env']: expected a mapping of scope keys to patterns, e.g. "
                    '{"env": "prod"}'
                ),
            ),
            (
                {"limit": 5, "window": "day", "match": {"a-b": "x"}},
                "match={'a-b': 'x'}: expected scope keys, which are identifiers; 'a-b' is none",
            ),
            (
                {"limit": 5, "window": "day", "match": {"env": ""}},
                "match={'env': ''}: expected texts as patterns; 'env' has ''",
            ),
            (
                {"limit": 5, "window": "day", "match": {"env": 5}},
                "match={'env': 5}: expected texts as patterns; 'env' has 5",
            ),
            (
                {"limit": 5, "window": "day", "match": {"env": []}},
                "match={'env': []}: expected texts as patterns; 'env' has []",
            ),
            (
                {"limit": 5, "window": "day", "match": {"env": ["a", "b", "c*"]}},
                (
                    "match={'env': ['a', 'b', 'c*']}: expected patterns that can all match; for "
                    "'env' no value is both 'a' and 'b'"
                ),
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
        with pytest.raises(TypeError, match="unexpected keyword argument 'limt'"):
            Budget(window="day", limt=5)  # type: ignore[call-arg]

    def test_something_that_is_no_text_is_refused(self) -> None:
        with pytest.raises(BudgetError) as raised:
            Budget(500)  # type: ignore[arg-type]
        assert str(raised.value) == "text=500: expected a text"


class TestMoney:
    @pytest.mark.parametrize("limit", [0.1, Decimal("0.1"), "0.1", "$0.1", "0.10 USD"])
    def test_is_counted_in_millionths_exactly(self, limit: Any) -> None:
        budget = Budget(limit=limit, unit="usd", window="day")
        assert (budget.limit, budget.cap, str(budget)) == (0.1, 100_000, "0.1 USD / day")

    def test_is_whole_when_it_can_be(self) -> None:
        budget = Budget(limit=50.0, unit="usd", window="day")
        assert (budget.limit, type(budget.limit), str(budget)) == (50, int, "50 USD / day")

    @given(st.integers(1, MAX_LIMIT))
    def test_is_read_back_to_the_last_millionth(self, cap: int) -> None:
        limit = Decimal(cap).scaleb(-6)
        budget = Budget(limit=limit, unit="usd", window="day")
        assert (budget.cap, Budget(str(budget)).cap) == (cap, cap)

    @pytest.mark.parametrize(
        ("text", "amount", "shown"),
        [
            ("1 USD / day", 1_250_000, 1.25),
            ("1 USD / day", 3_000_000, 3),
            ("1 USD / day", 0, 0),
            ("1 token / day", 1_250_000, 1_250_000),
        ],
    )
    def test_of_a_ledger_is_shown_in_usd(self, text: str, amount: int, shown: float) -> None:
        assert Budget(text).shown(amount) == shown

    def test_says_the_unit_in_a_limit_of_text(self) -> None:
        assert Budget(limit="50 USD", window="month") == Budget("50 USD / month")
        assert Budget(limit="20k", window="month") == Budget("20k tokens / month")
        assert Budget(limit="9 calls", window="month") == Budget("9 requests / month")

    @pytest.mark.parametrize(
        ("action", "given_price", "expected"),
        [
            ("block", None, "block"),
            ("degrade", None, "block"),
            ("warn", None, "allow"),
            ("shadow", None, "allow"),
            ("block", "allow", "allow"),
            ("warn", "block", "block"),
            ("warn", 3, 3.0),
            ("warn", 0, 0.0),
        ],
    )
    def test_without_a_price_is_blocked_only_where_calls_are(
        self, action: str, given_price: Any, expected: Any
    ) -> None:
        model: dict[str, Any] = {"degrade_to": "mini"} if action == "degrade" else {}
        budget = Budget("5 USD / day", action=action, on_unknown_price=given_price, **model)
        assert budget.on_unknown_price == expected

    def test_has_no_price_where_no_money_is_counted(self) -> None:
        assert Budget("5 tokens / day").on_unknown_price is None


class TestWeights:
    def test_count_each_kind_by_itself(self) -> None:
        weights = {"input": 1, "cache_read": 10, "cache_write": 100, "output": 3, "reasoning": 7}
        budget = Budget("5 tokens / day", weights=weights)
        # 100 of input, of which 2 from the cache and 3 into it; 10 of output, 4 of it reasoning
        assert budget.weigh((100, 10, 2, 3, 4)) == 95 + 20 + 300 + 18 + 28

    @pytest.mark.parametrize(
        ("unit", "expected"),
        [
            ("tokens", 110),
            ("input_tokens", 100),
            ("output_tokens", 10),
            ("requests", 0),
            ("usd", 0),
        ],
    )
    def test_that_are_not_given_are_1_for_what_the_unit_counts(
        self, unit: str, expected: int
    ) -> None:
        budget = Budget(limit=5, unit=unit, window="day")
        assert (budget.weights, budget.weigh((100, 10, 2, 3, 4))) == ((), expected)

    def test_are_exact_and_rounded_up(self) -> None:
        budget = Budget("5 tokens / day", weights={"input": 0.1, "output": 0.7})
        assert [budget.weigh((n, 0, 0, 0, 0)) for n in (0, 1, 10, 11)] == [0, 1, 1, 2]
        assert budget.weigh((3, 1, 0, 0, 0)) == 1  # 0.3 + 0.7, which floats do not add to 1

    @given(
        st.tuples(*[st.integers(0, 10**9)] * 5),
        st.lists(st.decimals(0, 1000, places=3), min_size=5, max_size=5).filter(any),
    )
    def test_are_sums(self, parts: tuple[int, ...], weights: list[Decimal]) -> None:
        fresh, read, write, output, reasoning = parts
        kinds = ("input", "cache_read", "cache_write", "output", "reasoning")
        budget = Budget("5 tokens / day", weights=dict(zip(kinds, weights, strict=True)))
        tokens = (fresh + read + write, output + reasoning, read, write, reasoning)
        expected = sum(part * weight for part, weight in zip(parts, weights, strict=True))
        assert budget.weigh(tokens) == ceil(expected)

    def test_of_1_are_none(self) -> None:
        plain = Budget("5 tokens / day")
        assert Budget("5 tokens / day", weights={"input": 1, "output": 1.0}) == plain
        weighed = Budget("5 tokens / day", weights={"output": 4, "cache_read": 0.1})
        assert weighed.weights == (("cache_read", 0.1), ("output", 4))
        assert weighed.identity != plain.identity

    @pytest.mark.parametrize(
        ("text", "weights", "message"),
        [
            (
                "5 input tokens / day",
                {"output": 2},
                "expected kinds of input_tokens: input, cache_read, cache_write; 'output' is none",
            ),
            (
                "5 tokens / day",
                {"ouput": 2},
                (
                    "expected kinds of tokens: input, cache_read, cache_write, output, reasoning; "
                    "'ouput' is none; did you mean 'output'?"
                ),
            ),
            ("5 tokens / day", {"input": -1}, "expected numbers, 0 to 1000; 'input' has -1"),
            ("5 tokens / day", {"input": 1001}, "expected numbers, 0 to 1000; 'input' has 1001"),
            ("5 tokens / day", {"input": True}, "expected numbers, 0 to 1000; 'input' has True"),
            ("5 tokens / day", {"input": "2"}, "expected numbers, 0 to 1000; 'input' has '2'"),
            (
                "5 output tokens / day",
                {"output": 0, "reasoning": 0},
                "expected something that weighs more than 0",
            ),
            (
                "5 requests / day",
                {"input": 2},
                "expected none, as the unit is 'requests'; units of tokens take them",
            ),
            (
                "5 tokens / day",
                5,
                'expected a mapping of kinds to numbers, e.g. {"cache_read": 0.1}',
            ),
        ],
    )
    def test_that_make_no_sense_are_refused(self, text: str, weights: Any, message: str) -> None:
        with pytest.raises(BudgetError) as raised:
            Budget(text, weights=weights)
        assert str(raised.value) == f"weights={weights!r}: {message}"


class TestSettings:
    def test_have_defaults(self) -> None:
        budget = Budget("5 tokens / day")
        assert (budget.action, budget.mode, budget.missing, budget.on_error) == (
            "block",
            "expected",
            "shared",
            "allow",
        )
        assert (budget.alert_at, budget.degrade_to, budget.block_at) == ((), None, 1.2)
        assert (budget.tz, budget.week_start, budget.month_day) == ("UTC", "monday", 1)

    def test_may_stand_beside_a_text(self) -> None:
        budget = Budget("5 tokens / day", action="degrade", degrade_to="gpt-5.1-mini", block_at=2)
        assert (budget.action, budget.degrade_to, budget.block_at) == ("degrade", "gpt-5.1-mini", 2)
        assert budget.above == 5

    def test_what_is_above_the_limit_is_reckoned_in_decimals(self) -> None:
        soft = Budget("1k tokens / day", action="degrade", degrade_to="gpt-5.1-mini")
        assert soft.above == 200  # and not 199, as 1000 × (1.2 - 1) is in floats
        assert Budget("1k tokens / day").above == 0

    @pytest.mark.parametrize(
        ("alert_at", "expected"),
        [
            (0.8, (0.8,)),
            (1, (1.0,)),
            ("80%", (0.8,)),
            ("12.5 %", (0.125,)),
            ([1, 0.5, "50%", "0.8"], (0.5, 0.8, 1.0)),
            ((), ()),
        ],
    )
    def test_alert_at_ascending_fractions(self, alert_at: Any, expected: Any) -> None:
        assert Budget("5 tokens / day", alert_at=alert_at).alert_at == expected

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"action": "blok"},
                (
                    "action='blok': expected one of block, warn, degrade, shadow; did you mean "
                    "'block'?"
                ),
            ),
            ({"action": ["warn"]}, "action=['warn']: expected one of block, warn, degrade, shadow"),
            (
                {"mode": "Strict"},
                "mode='Strict': expected one of expected, strict; did you mean 'strict'?",
            ),
            (
                {"missing": "ignore"},
                "missing='ignore': expected one of shared, skip, block",
            ),
            ({"on_error": False}, "on_error=False: expected one of allow, block, local"),
            *(
                (
                    {"alert_at": alert_at},
                    (
                        f"alert_at={alert_at!r}: expected fractions of the limit in (0, 1], e.g. "
                        "0.8 or '80%'"
                    ),
                )
                for alert_at in (0, 1.1, 80, "80", "x%", "%", [0.5, "nan"], True, None, {0.5: 1})
            ),
            (
                {"alert_at": [part / 20 for part in range(1, 12)]},
                f"alert_at={[part / 20 for part in range(1, 12)]}: expected at most 10 fractions",
            ),
            (
                {"action": "degrade"},
                "degrade_to=None: expected the name of a model, which the action 'degrade' needs",
            ),
            (
                {"degrade_to": "m"},
                "degrade_to='m': expected nothing, as the action is 'block'; 'degrade' takes it",
            ),
            (
                {"action": "degrade", "degrade_to": " "},
                "degrade_to=' ': expected a text that is not blank",
            ),
            *(
                (
                    {"action": "degrade", "degrade_to": "m", "block_at": block_at},
                    f"block_at={block_at!r}: expected a number, 1 to 1000",
                )
                for block_at in (0.9, 1001, "2", float("inf"), True)
            ),
            (
                {"block_at": 2},
                "block_at=2: expected nothing, as the action is 'block'; 'degrade' takes it",
            ),
            (
                {"on_unknown_price": "allow"},
                (
                    "on_unknown_price='allow': expected nothing, as the unit is 'tokens'; 'usd' "
                    "takes it"
                ),
            ),
            (
                {"tz": "berlin"},
                (
                    "tz='berlin': expected the IANA name of a time zone, e.g. \"Europe/Berlin\"; "
                    "did you mean 'Europe/Berlin'?"
                ),
            ),
            ({"month_day": 0}, "month_day=0: expected a day of the month, 1 to 31"),
        ],
    )
    def test_that_cannot_be_used_are_quoted(self, settings: Any, message: str) -> None:
        with pytest.raises(BudgetError) as raised:
            Budget("5 tokens / day", **settings)
        assert str(raised.value) == message

    @pytest.mark.parametrize("price", ["blok", -1, float("nan"), True, "5"])
    def test_a_price_is_a_number_or_one_of_two_words(self, price: Any) -> None:
        with pytest.raises(BudgetError, match="on_unknown_price="):
            Budget("5 USD / day", on_unknown_price=price)


settings_of_all_kinds = [
    Budget("5 tokens / day per user where env=prod"),
    Budget("5 tokens / day", name="daily", mode="strict", missing="skip", on_error="local"),
    Budget("0.5 USD / month", action="degrade", degrade_to="m", block_at=1.5, alert_at="80%"),
    Budget("5 USD / month", action="warn", on_unknown_price=2.5, tz="Asia/Tokyo", month_day=31),
    Budget("5 USD / week", week_start="sunday", tz="Europe/Berlin"),
    Budget("5 tokens / rolling 5 minutes", weights={"cache_read": 0.1, "output": 4}),
]


class TestValue:
    @pytest.mark.parametrize("budget", settings_of_all_kinds, ids=str)
    def test_of_a_budget_survives_pickling_copying_and_its_repr(self, budget: Budget) -> None:
        for again in (pickle.loads(pickle.dumps(budget)), deepcopy(budget), eval(repr(budget))):
            assert (again, hash(again), repr(again)) == (budget, hash(budget), repr(budget))
            assert (again.identity, again.label) == (budget.identity, budget.label)
            assert again.clock is budget.clock

    def test_of_budgets_differs_by_every_setting(self) -> None:
        assert len({*settings_of_all_kinds, Budget("5 tokens / day")}) == 7

    def test_shows_what_was_said(self) -> None:
        assert [repr(budget) for budget in settings_of_all_kinds[1:4]] == [
            (
                "Budget('5 tokens / day', mode='strict', missing='skip', on_error='local', "
                "name='daily')"
            ),
            (
                "Budget('0.5 USD / month', action='degrade', alert_at=(0.8,), degrade_to='m', "
                "block_at=1.5)"
            ),
            (
                "Budget('5 USD / month', action='warn', tz='Asia/Tokyo', month_day=31, "
                "on_unknown_price=2.5)"
            ),
        ]


def test_an_error_of_a_field_says_which_and_crosses_processes() -> None:
    with pytest.raises(BudgetError) as raised:
        Budget("5 tokens / day", action="blok")
    error = pickle.loads(pickle.dumps(raised.value))
    assert (error.field, error.given, str(error)) == ("action", "blok", str(raised.value))


class TestClock:
    def test_is_the_window_on_the_calendar_that_was_asked_for(self) -> None:
        budget = Budget("5 tokens / week", tz="Asia/Tokyo", week_start="sunday")
        assert budget.clock == Window("week", "Asia/Tokyo", "sunday")
        assert Budget("5 tokens / month", month_day=15).clock == Window("month", month_day=15)

    def test_is_one_object_for_budgets_whose_periods_are_the_same(self) -> None:
        one = Budget("5 tokens / day", tz="Asia/Tokyo", week_start="sunday", month_day=5)
        assert one.clock is Budget("9 USD / day per user", tz="Asia/Tokyo").clock
        rolling = Budget("5 tokens / rolling 60 minutes", tz="Asia/Tokyo").clock
        assert rolling is Budget("9 tokens / rolling hour").clock


@pytest.mark.parametrize(
    "field", ["limit", "unit", "window", "by", "match", "name", "action", "cap", "clock", "label"]
)
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

    @pytest.mark.parametrize(
        ("text", "other", "same"),
        [
            ("5 tokens / day", {"tz": "Asia/Tokyo"}, False),
            ("5 tokens / rolling 5 days", {"tz": "Asia/Tokyo"}, True),
            ("5 tokens / session", {"tz": "Asia/Tokyo"}, True),
            ("5 tokens / week", {"week_start": "sunday"}, False),
            ("5 tokens / day", {"week_start": "sunday"}, True),
            ("5 tokens / month", {"month_day": 2}, False),
            ("5 tokens / week", {"month_day": 2}, True),
            ("5 tokens / day", {"weights": {"output": 2}}, False),
            ("5 tokens / day", {"action": "warn", "alert_at": 0.8, "mode": "strict"}, True),
        ],
    )
    def test_has_what_decides_how_much_is_spent_in_which_period(
        self, text: str, other: Any, same: bool
    ) -> None:
        assert (Budget(text).identity == Budget(text, **other).identity) is same


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
            "budgets='5 tokens / day': expected a list of budgets or their texts"
        )

    def test_refuses_what_is_neither(self) -> None:
        with pytest.raises(BudgetError) as raised:
            read_budgets([5])  # type: ignore[list-item]
        assert str(raised.value) == "5 is neither a Budget nor the text of one"
