from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from otel_atm.ledger.grants import Answer, Ask, Bucket, Lease, Record, Sums, answer, decide

BUCKET = Bucket('"all"', "[]", 0, 60, 0)
amounts = st.integers(min_value=0, max_value=2_000)


def ask(**fields: Any) -> Ask:
    usual: dict[str, Any] = {
        "bucket": BUCKET,
        "node": "n1",
        "birth": 1,
        "seq": 1,
        "epoch": 0,
        "spent": 0,
        "settled": 0,
        "keep": 0,
        "need": 0,
        "want": 0,
        "call": 0,
        "alone": False,
        "cap": 1_000,
        "ceiling": 1_000,
        "alerts": (),
        "about": "",
        "gone_ns": 0,
    }
    return Ask(**{**usual, "keep": fields.get("spent", 0), **fields})


def say(question: Ask, **known: Any) -> Answer:
    record = Record(**{"epoch": 0, "lease": Lease(), "others": Sums(), **known})
    return answer(question, record)[0]


def test_what_is_needed_is_granted_with_what_is_wanted_in_whole_calls() -> None:
    assert decide(10_000, 0, 0, keep=0, need=300, want=1_000, call=300) == 1_200


def test_what_does_not_fit_is_not_granted() -> None:
    assert decide(1_000, 800, 1, keep=100, need=101, want=0, call=101) is None


def test_what_fits_exactly_is_granted() -> None:
    assert decide(1_000, 800, 1, keep=100, need=100, want=9_000, call=100) == 200


def test_a_block_is_a_fair_share_of_what_is_left() -> None:
    assert decide(1_000, 0, 3, keep=0, need=1, want=10_000, call=1) == 1 + 999 // 4


def test_but_at_least_half_a_percent_of_the_limit_over_all_nodes() -> None:
    assert decide(100_000, 99_000, 3, keep=0, need=1, want=10_000, call=1) == 1 + 999 // 4
    assert decide(100_000, 99_800, 3, keep=0, need=1, want=10_000, call=1) == 1 + 125


def test_when_little_is_left_grants_are_exact() -> None:
    assert decide(1_000, 400, 3, keep=0, need=500, want=16_000, call=500) == 500


@given(
    limit=amounts,
    others=amounts,
    rivals=st.integers(0, 9),
    keep=amounts,
    need=amounts,
    want=amounts,
    call=amounts,
)
def test_a_grant_never_passes_the_limit_and_covers_what_is_needed(
    limit: int, others: int, rivals: int, keep: int, need: int, want: int, call: int
) -> None:
    granted = decide(limit, others, rivals, keep, need, want, call)
    if keep + need > limit - others:
        assert granted is None
    else:
        assert granted is not None
        assert keep + need <= granted <= min(limit - others, keep + need + want)
        assert not call or (granted - keep - need) % call == 0


def test_the_last_call_gets_what_is_left_if_nobody_else_has_one_in_flight() -> None:
    quiet, busy = Sums(700, 700, 700), Sums(700, 700, 600)
    question = ask(need=500, alone=True)
    assert say(question, others=quiet).credit == 300
    assert say(question, others=quiet).alone
    assert not say(question, others=busy).ok
    assert not say(ask(need=500), others=quiet).ok


def test_what_others_have_not_spent_may_be_in_flight() -> None:
    assert not say(ask(need=500, alone=True), others=Sums(700, 600, 600)).ok


def test_where_a_budget_allows_more_than_its_limit_credit_says_what_is_within() -> None:
    said = say(ask(need=100, ceiling=1_200), others=Sums(950, 950, 950))
    assert (said.ok, said.granted, said.credit, said.loose) == (True, 100, 50, 100)
    assert not say(ask(need=300, ceiling=1_200), others=Sums(950, 950, 950)).ok


def test_a_debt_is_recorded_and_closes_the_bucket() -> None:
    said, kept, change = answer(
        ask(seq=2, spent=1_300), Record(epoch=0, lease=Lease(1, 500, 500, 0, 1), others=Sums())
    )
    assert (said.granted, said.credit) == (1_300, 1_000)
    assert kept == Lease(1, 1_300, 1_300, 0, 2)
    assert change == Sums(800, 800, 0)


def test_a_debt_that_becomes_smaller_leaves_no_credit_past_the_limit() -> None:
    lease = Lease(1, 1_300, 1_300, 0, 2)
    said = say(ask(seq=3, spent=1_100, need=1), lease=lease)
    assert (said.ok, said.credit) == (False, 1_000)


def test_an_overtaken_message_changes_nothing() -> None:
    lease = Lease(birth=2, granted=500, spent=300, settled=300, seq=7)
    for old in (ask(birth=2, seq=7), ask(birth=2, seq=6), ask(birth=1, seq=8)):
        said, kept, change = answer(old, Record(epoch=0, lease=lease, others=Sums()))
        assert (said.ok, said.granted) == (False, 500)
        assert (kept, change) == (lease, Sums())


def test_what_a_forgotten_account_has_spent_stays() -> None:
    lease = Lease(birth=1, granted=500, spent=300, settled=300, seq=7)
    said, kept, change = answer(
        ask(birth=2, seq=8, need=100), Record(epoch=0, lease=lease, others=Sums())
    )
    assert (kept.granted, said.used) == (100, 300)
    assert Sums(500, 300, 300).with_(Lease(0, *change)) == Sums(400, 300, 300)


def test_a_message_of_an_old_epoch_is_told_the_new_one() -> None:
    said = say(ask(epoch=2, need=100), epoch=3)
    assert (said.ok, said.stale, said.epoch) == (False, True, 3)


def test_each_alert_is_due_once() -> None:
    alerts = ((0.5, 500), (0.8, 800))
    said = say(ask(spent=600, settled=600, alerts=alerts))
    assert (said.due, said.told) == ((0.5,), (0.5,))
    again = say(ask(spent=850, settled=850, alerts=alerts), told=(0.5,))
    assert (again.due, again.told) == ((0.8,), (0.5, 0.8))


def test_what_others_have_settled_counts_for_alerts() -> None:
    said = say(ask(spent=100, settled=100, alerts=((0.5, 500),)), others=Sums(400, 400, 400))
    assert said.due == (0.5,)


def test_an_exempt_payer_needs_no_grant() -> None:
    said = say(ask(spent=5_000, need=100, want=100), exempt_ns=99)
    assert (said.ok, said.granted, said.exempt_ns) == (True, 5_000, 99)


def test_of_a_rolling_window_it_says_when_enough_has_left_it() -> None:
    slots = ((70, 100), (80, 400), (90, 500))
    assert say(ask(need=450), others=Sums(1_000, 1_000, 1_000), slots=slots).free_ns == 80
    assert say(ask(need=2_000), others=Sums(1_000, 1_000, 1_000), slots=slots).free_ns == 90
