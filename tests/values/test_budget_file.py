from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm import Budget, BudgetError
from otel_atm.budget_file import BudgetFile, read_budget_file

ROOT = Path(__file__).parents[2]
Read = Callable[..., BudgetFile]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads a text as a file ``budgets.yaml``, or of another name, in the current folder."""
    monkeypatch.chdir(tmp_path)

    def of(text: str | bytes, name: str = "budgets.yaml") -> BudgetFile:
        content = text if isinstance(text, bytes) else text.encode()
        Path(name).write_bytes(content)
        return read_budget_file(name)

    return of


def problems(read: Read, text: str | bytes, name: str = "budgets.yaml") -> list[str]:
    with pytest.raises(BudgetError) as raised:
        read(text, name)
    return str(raised.value).splitlines()


YAML = """
# the platform's
budgets:
  - 500 tokens / minute per user
  - text: 50 USD / month per team
    name: teams
    action: degrade
    degrade_to: gpt-5.1-mini
    alert_at: [50%, 0.8]
    tz: Europe/Berlin
    month_day: 15
  - limit: 20k
    window: rolling 60 minutes
    by: [user, model]
    match:
      env: prod
      user: [bot-*, "*-7"]
      tags: [eu-*, prod]
    weights: {cache_read: 0.1, output: 4}
  - {limit: 0.25 USD, window: call, on_unknown_price: 2.5, mode: strict}
stop: true
"""

TOML = """
# the platform's
stop = true

[[budgets]]
text = "500 tokens / minute per user"

[[budgets]]
text = "50 USD / month per team"
name = "teams"
action = "degrade"
degrade_to = "gpt-5.1-mini"
alert_at = ["50%", 0.8]
tz = "Europe/Berlin"
month_day = 15

[[budgets]]
limit = "20k"
window = "rolling 60 minutes"
by = ["user", "model"]
weights = { cache_read = 0.1, output = 4 }
match.env = "prod"
match.user = ["bot-*", "*-7"]
match.tags = ["eu-*", "prod"]

[[budgets]]
limit = 0.25
unit = "usd"
window = "call"
on_unknown_price = 2.5
mode = "strict"
"""

SAID = BudgetFile(
    budgets=(
        Budget("500 tokens / minute per user"),
        Budget(
            "50 USD / month per team",
            name="teams",
            action="degrade",
            degrade_to="gpt-5.1-mini",
            alert_at=(0.5, 0.8),
            tz="Europe/Berlin",
            month_day=15,
        ),
        Budget(
            limit=20_000,
            window="rolling hour",
            by=("user", "model"),
            match={"env": "prod", "user": ["bot-*", "*-7"], "tags": ["eu-*", "prod"]},
            weights={"cache_read": 0.1, "output": 4},
        ),
        Budget("0.25 USD / call", on_unknown_price=2.5, mode="strict"),
    ),
    stopped=True,
)


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "name"), [(YAML, "b.yaml"), (YAML, "b.YML"), (TOML, "b.toml")]
    )
    def test_say_all_that_budgets_can(self, read: Read, text: str, name: str) -> None:
        assert read(text, name) == SAID

    def test_in_toml_may_list_texts(self, read: Read) -> None:
        text = 'budgets = [\n"5 tokens / day",\n{ text = "9 USD / day", action = "warn" },\n]'
        assert read(text, "b.toml").budgets == (
            Budget("5 tokens / day"),
            Budget("9 USD / day", action="warn"),
        )

    def test_do_not_stop_calls_unless_they_say_so(self, read: Read) -> None:
        assert read("budgets: []\nstop: false") == BudgetFile((), stopped=False)
        assert read("budgets: [5 tokens / day]").stopped is False

    def test_may_do_nothing_but_stop_calls(self, read: Read) -> None:
        assert read("stop: yes") == BudgetFile((), stopped=True)

    @pytest.mark.parametrize("limit", ["1000", "1_000", '"1,000"', "1k", "1,000", "1000 tokens"])
    def test_take_limits_as_people_write_them(self, read: Read, limit: str) -> None:
        assert read(f"budgets:\n- limit: {limit}\n  window: day").budgets == (
            Budget("1000 tokens / day"),
        )

    def test_of_money_are_exact(self, read: Read) -> None:
        text = "budgets:\n- {limit: 0.1, unit: usd, window: day}\n"
        assert read(text).budgets[0].cap == 100_000

    def test_may_have_a_byte_order_mark_and_windows_line_ends(self, read: Read) -> None:
        text = b"\xef\xbb\xbfbudgets:\r\n- 5 tokens / day\r\n"
        assert read(text).budgets == (Budget("5 tokens / day"),)


class TestProblems:
    def test_are_told_all_at_once_with_their_lines(self, read: Read) -> None:
        text = """\
budgets:
  - 500 tokens / minute per user
  - 500 tokns / minute
  - text: 50 USD / month
    wieghts: {output: 5}
    action: blok
    block_at: 4
  - limit: 50
    window: mnth
    month_day: 32
  - limit: -5
    unit: tokns
    window: day
  - limit: 1
  - 5
stop: maybe
budget: []
"""
        assert problems(read, text) == [
            (
                "budgets.yaml:3: '500 tokns / minute': unknown unit 'tokns'; expected tokens, "
                "input_tokens, output_tokens, requests, usd; did you mean 'tokens'? (at column 5)"
            ),
            (
                "budgets.yaml:5: wieghts: a mapping of output: unknown key; expected text, limit, "
                "unit, window, by, match, action, mode, missing, on_error, alert_at, degrade_to, "
                "block_at, name, tz, week_start, month_day, weights, on_unknown_price; did you "
                "mean 'weights'?"
            ),
            (
                "budgets.yaml:6: action: 'blok': expected one of block, warn, degrade, shadow; "
                "did you mean 'block'?"
            ),
            (
                "budgets.yaml:9: window: 'mnth': expected one of minute, hour, day, week, month, "
                "lifetime, call, trace, session or 'rolling 5 minutes' and the like; did you mean "
                "'month'?"
            ),
            "budgets.yaml:10: month_day: 32: expected a day of the month, 1 to 31",
            (
                "budgets.yaml:12: unit: 'tokns': expected one of tokens, input_tokens, "
                "output_tokens, requests, usd; did you mean 'tokens'?"
            ),
            "budgets.yaml:14: a budget needs window; given: ['limit']",
            "budgets.yaml:15: budgets: 5: expected the text of a budget, or a mapping",
            "budgets.yaml:16: stop: 'maybe': expected true or false",
            (
                "budgets.yaml:17: budget: nothing: unknown key; expected budgets, stop; did you "
                "mean 'budgets'?"
            ),
        ]

    def test_in_toml_have_their_lines_too(self, read: Read) -> None:
        text = """\
[[budgets]]
text = "5 tokens / day"

[[budgets]]
limit = 0
window = "day"
name = 2024
"""
        assert problems(read, text, "b.toml") == [
            "b.toml:5: limit: 0: expected a whole amount > 0",
            (
                "b.toml:7: name: 2024: expected a text that is not blank; is it a text? Then put "
                "it in quotes"
            ),
        ]

    @pytest.mark.parametrize(
        ("fields", "line", "problem"),
        [
            (
                "text: 5 tokens / day\n  unit: tokens",
                2,
                "a budget is a text or fields, not both: also given ['unit']",
            ),
            (
                "text: 5 tokens / day\n  action: degrade",
                2,
                "degrade_to: expected the name of a model, which the action 'degrade' needs",
            ),
            (
                "text: 5 tokens",
                2,
                "text: '5 tokens': expected '/' and a window, e.g. '/ minute' (at the end)",
            ),
            ("text: 5", 2, "text: 5: expected a text; is it a text? Then put it in quotes"),
            ("name: x", 2, "a budget needs limit and window; given: nothing"),
            (
                "limit: 5 quid\n  window: day",
                2,
                (
                    "limit: '5 quid': unknown unit 'quid'; expected tokens, input_tokens, "
                    "output_tokens, requests, usd (at column 3)"
                ),
            ),
            ("limit:\n  window: day", 2, "limit: nothing: expected an integer > 0"),
            ("limit: 1.5\n  window: day", 2, "limit: 1.5: expected an integer > 0"),
            (
                "text: 5 tokens / day\n  name: 1.10",
                3,
                (
                    "name: 1.1: expected a text that is not blank; is it a text? Then put it in "
                    "quotes"
                ),
            ),
            (
                "text: 5 tokens / day\n  on_error: off",
                3,
                (
                    "on_error: False: expected one of allow, block, local; is it a text? Then put "
                    "it in quotes (on, off, yes and no are true or false)"
                ),
            ),
            (
                "limit: 5\n  window: day\n  match: {env: on}",
                4,
                (
                    "match: a mapping of env: expected texts as patterns; 'env' has True; is it a "
                    "text? Then put it in quotes (on, off, yes and no are true or false)"
                ),
            ),
            (
                "limit: 5\n  window: day\n  match: prod",
                4,
                (
                    "match: 'prod': expected a mapping of scope keys to patterns, e.g. "
                    '{"env": "prod"}'
                ),
            ),
            (
                "text: 5 tokens / day\n  alert_at: [80]",
                3,
                (
                    "alert_at: a list of 1: expected fractions of the limit in (0, 1], e.g. 0.8 "
                    "or '80%'"
                ),
            ),
            (
                "text: 5 tokens / day\n  weights: {output: x}",
                3,
                ("weights: a mapping of output: expected numbers, 0 to 1000; 'output' has 'x'"),
            ),
            (
                "[5 tokens / day]",
                2,
                "budgets: a list of 1: expected the text of a budget, or a mapping",
            ),
        ],
    )
    def test_quote_what_is_wrong(self, read: Read, fields: str, line: int, problem: str) -> None:
        assert problems(read, f"budgets:\n- {fields}\n") == [f"budgets.yaml:{line}: {problem}"]

    def test_of_two_budgets_of_one_identity_name_the_first(self, read: Read) -> None:
        text = "budgets:\n- 5 tokens / day\n- 9 tokens / day\n- {text: 7 tokens / day, name: x}\n"
        assert problems(read, text) == [
            (
                "budgets.yaml:3: '9 tokens / day' has the same identity as the budget in line 2; "
                "name one of them"
            )
        ]

    @pytest.mark.parametrize(
        ("text", "name", "problem"),
        [
            ("", "b.yaml", "b.yaml: is empty"),
            ("# nothing", "b.yaml", "b.yaml: is empty"),
            ("", "b.toml", "b.toml: is empty"),
            ("a: b: c", "b.yaml", "b.yaml:1: no YAML: mapping values are not allowed here"),
            ("a = = b", "b.toml", "b.toml:1: no TOML: Invalid value"),
            (b"\xff\xfe\x00", "b.yaml", "b.yaml:1: is not a text in UTF-8"),
            ("budgets: []", "b.json", "b.json: expected a file that ends in .yaml, .yml, .toml"),
            (
                "- 5 tokens / day",
                "b.yaml",
                "b.yaml:1: expected a mapping of budgets, a list, and stop, true or false",
            ),
            ("budgets:", "b.yaml", "b.yaml:1: budgets: nothing: expected a list of budgets"),
            ("{}", "b.yaml", "b.yaml:1: expected budgets, a list"),
            ("budgets: []\nbudgets: []", "b.yaml", "b.yaml:2: budgets: is there twice"),
            (
                "a: &a [x]\nbudgets: *a",
                "b.yaml",
                "b.yaml:2: anchors and aliases (&name, *name) are not read here",
            ),
            (" " * 1_000_001, "b.yaml", "b.yaml: is larger than 1000000 bytes"),
            ("budgets: " + "[" * 50_000, "b.yaml", "b.yaml: is nested too deeply"),
        ],
    )
    def test_of_the_file_itself(self, read: Read, text: str, name: str, problem: str) -> None:
        assert problems(read, text, name) == [problem]

    def test_of_files_that_cannot_be_read(self, read: Read, tmp_path: Path) -> None:
        (tmp_path / "folder.yaml").mkdir()
        for name, problem in (
            ("missing.yaml", "cannot be read: No such file or directory"),
            ("folder.yaml", "cannot be read: Is a directory"),
        ):
            with pytest.raises(BudgetError) as raised:
                read_budget_file(name)
            assert str(raised.value) == f"{name}: {problem}"


def test_the_examples_of_the_page_say_the_same(read: Read) -> None:
    page = (ROOT / "docs/reference/budget-file.md").read_text()
    (yaml,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (toml,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert read(yaml) == read(toml, "b.toml")
    assert len(read(yaml).budgets) == 4


fields = st.dictionaries(
    st.sampled_from(["text", "limit", "unit", "window", "action", "degrade_to", "weights", "x"]),
    st.sampled_from(["5", "5 USD", "usd", "day", "degrade", "{output: 2}", "5 tokens / day", "on"]),
    min_size=1,
)


@given(st.lists(fields, max_size=3))
def test_any_fields_are_budgets_or_problems(
    tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, str]]
) -> None:
    lines = [", ".join(f"{key}: {value}" for key, value in item.items()) for item in items]
    path = tmp_path_factory.mktemp("any") / "b.yaml"
    path.write_text("budgets: [\n" + "".join(f"{{{line}}},\n" for line in lines) + "]\n")
    try:
        found = len(read_budget_file(path).budgets)
    except BudgetError as error:
        found = len(items)
        wrong = str(error).splitlines()
    else:
        wrong = []
    assert found == len(items)
    assert all(line.startswith(f"{path}:") for line in wrong)
