"""Figures draw what the rows say: names, values, colours and order, and a sentence for nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import plotly.graph_objects as go
import pytest

from otel_atm.charts import figures
from otel_atm.charts.looks import GREY, OTHERS, PALETTE, UNKNOWN, colours
from otel_atm.charts.rows import Latency, ModelTokens, Refusals, TokenKinds, Totals, UserModel

TEN, ELEVEN = datetime(2026, 1, 1, 10), datetime(2026, 1, 1, 11)


def bars(figure: go.Figure) -> dict[str, tuple[list[Any], list[Any]]]:
    return {
        trace.name: (list(trace.x), list(trace.y)) for trace in figure.data if trace.type == "bar"
    }


def user(name: str | None, model: str | None, total: int, refused: int = 0) -> UserModel:
    return UserModel("ml", name, model, 1, refused, total, 0, 0, total, 0, None)


def test_time_is_stacked_by_model_in_one_order_with_bars_as_wide_as_their_bucket() -> None:
    rows = [
        ModelTokens(TEN, "b", 1, 10, 0, 10),
        ModelTokens(ELEVEN, "a", 1, 20, 0, 20),
        ModelTokens(ELEVEN, "b", 1, 30, 5, 35),
    ]
    figure = figures.tokens_over_time(rows, 3600)
    assert bars(figure) == {"a": ([ELEVEN], [20]), "b": ([TEN, ELEVEN], [10, 35])}
    assert list(bars(figure)) == ["a", "b"]
    assert {trace.width for trace in figure.data} == {3_600_000}
    assert figure.layout.barmode == "stack"
    assert figure.layout.title.text == "Tokens over time, by model (bars of 1 h)"


def test_all_but_the_eight_greatest_models_are_drawn_together() -> None:
    rows = [ModelTokens(TEN, f"m{n}", 1, n, 0, n) for n in range(1, 11)]
    drawn = bars(figures.tokens_over_time(rows, 60))
    assert list(drawn) == [*sorted(f"m{n}" for n in range(3, 11)), OTHERS]
    assert drawn[OTHERS] == ([TEN], [1 + 2])


def test_users_are_ranked_by_their_tokens_and_say_how_often_they_were_refused() -> None:
    rows = [
        user("ann", "a", 5),
        user("ann", "b", 6, refused=1_200),
        user("ben", "a", 10),
        user(None, None, 0, refused=1),
    ]
    figure = figures.top_users(rows)
    names = ["ann · ml", "ben · ml", f"{UNKNOWN} · ml"]
    assert bars(figure) == {"a": ([5, 10, 0], names), "b": ([6, 0, 0], names)}
    (texts,) = (trace for trace in figure.data if trace.type == "scatter")
    assert list(texts.text) == ["  1,200 refused", "", "  1 refused"]
    assert figure.layout.yaxis.autorange == "reversed"  # the first on top


def test_only_so_many_users_are_drawn() -> None:
    rows = [user(f"u{n:02d}", "a", 100 - n) for n in range(30)]
    ((_, names),) = bars(figures.top_users(rows, most=3)).values()
    assert names == ["u00 · ml", "u01 · ml", "u02 · ml"]


def test_refusals_are_stacked_by_budget() -> None:
    rows = [
        Refusals("B1", "ml", "ann", 2, TEN),
        Refusals("B2", "ml", "ann", 1, TEN),
        Refusals("B2", None, "ben", 4, TEN),
    ]
    figure = figures.refusals(rows)
    assert bars(figure) == {
        "B1": ([0, 2], ["ben", "ann · ml"]),
        "B2": ([4, 1], ["ben", "ann · ml"]),
    }
    assert figure.layout.xaxis.dtick == 1


def test_kinds_of_tokens_add_up_and_kinds_without_any_are_left_out() -> None:
    rows = [TokenKinds("a", 1, 2, 0, 3, 4), TokenKinds("b", 100, 0, 0, 50, 0)]
    assert bars(figures.token_kinds(rows)) == {
        "input": ([100, 1], ["b", "a"]),
        "input, read from the cache": ([0, 2], ["b", "a"]),
        "output": ([50, 3], ["b", "a"]),
        "output, reasoning": ([0, 4], ["b", "a"]),
    }


def test_latency_goes_from_the_median_to_the_95th_percentile() -> None:
    rows = [Latency("a", 9, 10.0, 90.0, None, None), Latency("b", 1, 5.0, 6.0, 1.0, 2.0)]
    lines, first_chunk, median, p95 = figures.latency(rows).data
    assert list(lines.x) == [10.0, 90.0, None, 5.0, 6.0, None]
    assert list(first_chunk.x) == [None, 1.0]
    assert (list(median.x), list(p95.x)) == ([10.0, 5.0], [90.0, 6.0])
    assert list(median.customdata) == [9, 1]


def test_the_headline_keeps_every_digit_below_a_million_and_shows_the_estimated_share() -> None:
    totals = Totals(
        15_234, 7, 0, 2_000_000, 500, 0, 0, 0, 2_000_500, 200_050, 7.5, 0, 3, TEN, ELEVEN
    )
    shown = {
        trace.title.text: (trace.value, trace.number.valueformat)
        for trace in figures.headline(totals).data
    }
    assert shown == {
        "calls sent": (15_234, ",d"),
        "refused, not sent": (7, ",d"),
        "tokens in": (2_000_000, ".3~s"),
        "tokens out": (500, ",d"),
        "tokens estimated": (0.1, ".1%"),
        "USD": (7.5, ",.2f"),
    }


@pytest.mark.parametrize(
    ("figure", "reason"),
    [
        (figures.tokens_over_time([], 60), "No calls yet"),
        (figures.top_users([]), "No calls yet"),
        (figures.refusals([]), "No call was refused"),
        (figures.token_kinds([]), "No calls yet"),
        (figures.latency([]), "No call that ended well says how long it took"),
    ],
)
def test_a_figure_of_nothing_says_so(figure: go.Figure, reason: str) -> None:
    assert not figure.data
    assert [note.text for note in figure.layout.annotations] == [reason]
    assert figure.layout.title.text


def test_the_headline_of_nothing_is_zeros() -> None:
    figure = figures.headline(Totals(*[0] * 10, None, 0, 0, None, None))
    assert [trace.value for trace in figure.data] == [0, 0, 0, 0, 0]


def test_names_from_outside_are_no_markup() -> None:
    figure = figures.top_users([user("<a href='javascript:x'>ann</a>", "<b>", 1)])
    ((name, (_, names)),) = bars(figure).items()
    assert (name, names) == ("&lt;b&gt;", ["&lt;a href='javascript:x'&gt;ann&lt;/a&gt; · ml"])


def test_a_name_has_its_colour_whoever_else_is_there() -> None:
    alone = colours(["gpt-5"])["gpt-5"]
    assert colours(["gpt-5", "gpt-5-mini", "gpt-5-nano"])["gpt-5"] == alone
    assert colours(["gpt-5-nano", "gpt-5", "gpt-5-mini", UNKNOWN])["gpt-5"] == alone


def test_colours_differ_as_long_as_there_are_enough() -> None:
    chosen = colours(f"model-{n}" for n in range(len(PALETTE)))
    assert sorted(set(chosen.values()) - {GREY}) == sorted(PALETTE)
    assert len(colours(f"model-{n}" for n in range(50))) == 50 + 2


def test_no_chart_offers_to_upload_itself() -> None:
    assert figures.CONFIG["showSendToCloud"] is False
    assert figures.CONFIG["displaylogo"] is False
