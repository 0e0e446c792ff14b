"""Rules: agent-atm's words for budgets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import otel_atm as atm
from otel_atm.testing import ManualClock
from tests.facade.conftest import Told

FREE = atm.Scope(user="free-tier")


def ask(tokens: int, **who: str) -> None:
    atm.add_user_request(token_count=tokens, **who)  # type: ignore[arg-type]


def test_a_blocking_quota_refuses_what_is_past_it(told: Told) -> None:
    atm.limits.add(
        scope=FREE, quota=atm.Quota(minute_limit=500), alert_level=atm.AlertLevel.BLOCKING
    )
    with atm.context(username="free-tier"):
        ask(500)
        with pytest.raises(atm.TokenQuotaExceeded) as caught:
            ask(1)
    assert (caught.value.used, caught.value.limit, caught.value.unit) == (500, 500, "tokens")
    ask(1_000, username="somebody else")


def test_windows_slide(told: Told, clock: ManualClock) -> None:
    atm.limits.add(FREE, atm.Quota(minute_limit=500))
    clock.advance(59)
    ask(500, username="free-tier")
    clock.advance(2)  # another minute of the clock
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(500, username="free-tier")
    clock.advance(60)
    ask(500, username="free-tier")


@pytest.mark.parametrize(
    ("quota", "seconds"),
    [
        (atm.Quota(minute_limit=10), 62),
        (atm.Quota(hour_limit=10), 3_800),
        (atm.Quota(day_limit=10), 90_000),
    ],
)
def test_every_window_ends(
    told: Told, clock: ManualClock, quota: atm.Quota, seconds: float
) -> None:
    atm.limits.add(FREE, quota)
    ask(10, username="free-tier")
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(1, username="free-tier")
    clock.advance(seconds)
    ask(10, username="free-tier")


def test_a_total_limit_never_does(told: Told, clock: ManualClock) -> None:
    atm.limits.add(FREE, atm.Quota(total_limit=10))
    ask(10, username="free-tier")
    clock.advance(10 * 365 * 86_400)
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(1, username="free-tier")


def test_of_several_windows_each_holds(told: Told, clock: ManualClock) -> None:
    atm.limits.add(FREE, atm.Quota(minute_limit=10, hour_limit=15))
    ask(10, username="free-tier")
    clock.advance(120)
    with pytest.raises(atm.TokenQuotaExceeded) as caught:
        ask(10, username="free-tier")
    assert "hour" in caught.value.budget
    assert [status.used for status in told.handle.budgets() if "rolling" in status.name] == [0, 10]


def test_a_warning_quota_lets_calls_in_and_says_so(told: Told) -> None:
    atm.limits.add(FREE, atm.Quota(minute_limit=10), atm.AlertLevel.WARNING)
    ask(10, username="free-tier")
    ask(10, username="free-tier")
    assert told.rows("decision, input_tokens") == [("allowed", 10), ("warned", 10)]


def test_a_rule_without_a_scope_is_of_all_calls_together(told: Told) -> None:
    atm.limits.add(quota=atm.Quota(minute_limit=10))
    ask(6, username="ann")
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(6, username="bob")


def test_tags_are_part_of_a_scope(told: Told) -> None:
    atm.limits.add(atm.Scope(tags=["batch"]), atm.Quota(minute_limit=10))
    with pytest.raises(atm.TokenQuotaExceeded):
        atm.add_user_request(token_count=11, _additional_metadata_tags=["batch", "night"])
    atm.add_user_request(token_count=11, _additional_metadata_tags=["night"])


def test_a_scope_is_meant_literally(told: Told) -> None:
    atm.limits.add(atm.Scope(user="team-*[x]?"), atm.Quota(minute_limit=10))
    ask(100, username="team-a")
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(11, username="team-*[x]?")


def test_another_rule_of_the_same_scope_replaces_it_and_what_was_spent_stays(told: Told) -> None:
    atm.limits.add(FREE, atm.Quota(minute_limit=100))
    ask(90, username="free-tier")
    rule = atm.limits.add(FREE, atm.Quota(minute_limit=200))
    assert atm.limits.rules() == [rule]
    ask(100, username="free-tier")
    with pytest.raises(atm.TokenQuotaExceeded) as caught:
        ask(100, username="free-tier")
    assert (caught.value.used, caught.value.limit) == (190, 200)


def test_a_rule_that_fails_takes_no_other_threads_rule_along(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, quota = atm.limits.on_change, atm.Quota(minute_limit=10)
    assert renew is not None
    other = threading.Thread(target=atm.limits.add, args=(atm.Scope(user="bob"), quota))

    def fail() -> None:
        monkeypatch.setattr(atm.limits, "on_change", renew)
        other.start()
        other.join(0.05)  # it may try
        raise atm.ConfigurationError("no room")

    monkeypatch.setattr(atm.limits, "on_change", fail)
    with pytest.raises(atm.ConfigurationError, match="no room"):
        atm.limits.add(atm.Scope(user="ann"), quota)
    other.join()
    assert [rule.scope["user"] for rule in atm.limits.rules()] == ["bob"]


def test_a_rule_that_is_removed_holds_no_longer(told: Told) -> None:
    atm.limits.add(FREE, atm.Quota(minute_limit=10))
    atm.limits.remove(FREE)
    ask(100, username="free-tier")
    with pytest.raises(atm.ConfigurationError, match="there is no rule of this scope"):
        atm.limits.remove(FREE)


def test_rules_that_are_given_before_init_are_kept_for_it(program: Callable[..., Told]) -> None:
    atm.limits.add(FREE, atm.Quota(minute_limit=10))
    program()
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(11, username="free-tier")


def test_rules_end_with_the_handle(program: Callable[..., Told]) -> None:
    told = program(data_manager="memory", budgets=())
    atm.limits.add(FREE, atm.Quota(minute_limit=10))
    told.handle.shutdown()
    assert atm.limits.rules() == []


def test_rules_stand_beside_budgets_that_change(told: Told) -> None:
    atm.limits.add(FREE, atm.Quota(minute_limit=10))
    told.handle.set_budgets(["1k tokens / day per user"])
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(11, username="free-tier")
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(1_001, username="ann")


def test_rules_stand_beside_a_file_of_budgets(program: Callable[..., Told], tmp_path: Path) -> None:
    file = tmp_path / "budgets.yaml"
    file.write_text("budgets:\n  - 1k tokens / day per user\n")
    program(budgets=str(file))
    atm.limits.add(FREE, atm.Quota(minute_limit=10))
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(11, username="free-tier")
    with pytest.raises(atm.TokenQuotaExceeded):
        ask(1_001, username="ann")


def test_a_rule_that_counts_what_a_budget_counts_is_an_error_and_changes_nothing(
    program: Callable[..., Told],
) -> None:
    program(budgets=["20 tokens / rolling minute where user=free-tier"])
    with pytest.raises(atm.ConfigurationError, match="two budgets of one identity"):
        atm.limits.add(FREE, atm.Quota(minute_limit=10))
    assert atm.limits.rules() == []
    ask(15, username="free-tier")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"quota": None}, "quota=None: expected otel_atm.Quota"),
        ({"quota": atm.Quota(day_limit=1), "scope": "ann"}, "scope='ann': expected otel_atm.Scope"),
        (
            {"quota": atm.Quota(day_limit=1), "alert_level": "loud"},
            "alert_level='loud': expected AlertLevel.BLOCKING or AlertLevel.WARNING",
        ),
    ],
)
def test_what_is_no_rule_is_quoted(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(atm.ConfigurationError) as caught:
        atm.limits.add(**arguments)
    assert said in str(caught.value)
    assert atm.limits.rules() == []


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({}, "Quota(): expected one of minute_limit"),
        ({"minute_limit": 0}, "minute_limit=0: expected tokens, an integer > 0"),
        ({"day_limit": "5"}, "day_limit='5'"),
        ({"hour_limit": True}, "hour_limit=True"),
    ],
)
def test_what_is_no_quota_is_quoted(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(atm.ConfigurationError) as caught:
        atm.Quota(**limits)
    assert said in str(caught.value)
