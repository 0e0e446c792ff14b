"""The figures: each a pure function of rows. Needs plotly, of the extra ``dashboards``.

::

    figures.tokens_over_time(queries.tokens_over_time(db), width_s=60).show(config=figures.CONFIG)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import plotly.graph_objects as go

from otel_atm.charts.looks import (
    CONFIG,
    OTHERS,
    colours,
    label,
    nothing,
    rows_high,
    styled,
)
from otel_atm.charts.rows import Latency, ModelTokens, Refusals, TokenKinds, Totals, UserModel

__all__ = [
    "CONFIG",
    "headline",
    "latency",
    "refusals",
    "token_kinds",
    "tokens_over_time",
    "top_users",
]

_NO_CALLS: Final = "No calls yet"
#: Models drawn apart; the rest is drawn together.
_MODELS: Final = 8

# field of TokenKinds → (what it is called, its colour); in the order of the stack
_KINDS: Final = {
    "fresh_input_tokens": ("input", "#4477AA"),
    "cache_read_tokens": ("input, read from the cache", "#99BBDD"),
    "cache_write_tokens": ("input, written to the cache", "#66CCEE"),
    "answer_tokens": ("output", "#EE6677"),
    "reasoning_tokens": ("output, reasoning", "#AA3377"),
}


def headline(totals: Totals) -> go.Figure:
    """The totals as numbers: calls, refused, tokens in and out, estimated share, cost if known."""
    numbers: list[tuple[str, float, str]] = [
        ("calls sent", totals.calls, _short(totals.calls)),
        ("refused, not sent", totals.refused, _short(totals.refused)),
        ("tokens in", totals.input_tokens, _short(totals.input_tokens)),
        ("tokens out", totals.output_tokens, _short(totals.output_tokens)),
        ("tokens estimated", totals.estimated_tokens / max(1, totals.total_tokens), ".1%"),
    ]
    if totals.cost_usd is not None:
        numbers.append(("USD", totals.cost_usd, ",.2f" if totals.cost_usd >= 1 else ",.4f"))
    figure = styled(go.Figure(), "", height=130)
    for place, (name, number, form) in enumerate(numbers):
        figure.add_indicator(
            mode="number",
            value=number,
            title={"text": name, "font": {"size": 14}},
            number={"valueformat": form, "font": {"size": 34}},
            domain={"row": 0, "column": place},
        )
    return figure.update_layout(grid={"rows": 1, "columns": len(numbers)}, margin_t=50)


def tokens_over_time(rows: Sequence[ModelTokens], width_s: int) -> go.Figure:
    """Bars of tokens over time, stacked by model.

    Bars and not areas: between two buckets with calls an area would draw tokens nobody used.

    Args:
        rows: by bucket, then model.
        width_s: of a bucket, in seconds.
    """
    title = f"Tokens over time, by model (bars of {_duration(width_s)})"
    if not rows:
        return nothing(title, _NO_CALLS)
    shown = _greatest((label(row.model), row.total_tokens) for row in rows)
    palette = colours(label(row.model) for row in rows)
    figure = go.Figure()
    for model in shown:
        tokens: Counter[object] = Counter()
        for row in rows:
            if _shown_as(label(row.model), shown) == model:
                tokens[row.bucket] += row.total_tokens
        figure.add_bar(
            name=model,
            x=list(tokens),
            y=list(tokens.values()),
            width=width_s * 1000,  # milliseconds: the unit of a time axis
            offset=0,
            marker_color=palette[model],
            hovertemplate=f"%{{x|%d %b %H:%M:%S}}<br>%{{y:,}} tokens<extra>{model}</extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="UTC")
    figure.update_yaxes(title="tokens", rangemode="tozero", tickformat=",")
    return styled(figure, title)


def top_users(rows: Sequence[UserModel], most: int = 15) -> go.Figure:
    """The users who spent most, stacked by model; how often each was refused stands at the end.

    Args:
        rows: in any order.
        most: how many users at most.
    """
    title = "Tokens by user and model"
    if not rows:
        return nothing(title, _NO_CALLS)
    tokens: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    cells: Counter[tuple[str, str]] = Counter()
    shown = _greatest((label(row.model), row.total_tokens) for row in rows)
    for row in rows:
        user = _payer(row.user_id, row.team)
        tokens[user] += row.total_tokens
        refused[user] += row.refused
        cells[user, _shown_as(label(row.model), shown)] += row.total_tokens
    users = sorted(tokens, key=lambda user: (-tokens[user], user))[:most]
    palette = colours(label(row.model) for row in rows)
    figure = go.Figure()
    for model in shown:
        _add_bars(figure, model, users, [cells[user, model] for user in users], palette[model])
    figure.add_scatter(
        x=[tokens[user] for user in users],
        y=users,
        text=[f"  {refused[user]:,} refused" if refused[user] else "" for user in users],
        mode="text",
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_xaxes(range=[0, 1.15 * max(1, *tokens.values())])  # room for the texts
    return _ranking(figure, title, "tokens", len(users))


def refusals(rows: Sequence[Refusals], most: int = 15) -> go.Figure:
    """Who was refused most, by which budget.

    Args:
        rows: in any order.
        most: how many users at most.
    """
    title = "Refused before sending, by user and budget"
    if not rows:
        return nothing(title, "No call was refused")
    counts: Counter[str] = Counter()
    cells: Counter[tuple[str, str]] = Counter()
    for row in rows:
        user = _payer(row.user_id, row.team)
        counts[user] += row.refused
        cells[user, label(row.budget)] += row.refused
    users = sorted(counts, key=lambda user: (-counts[user], user))[:most]
    palette = colours(label(row.budget) for row in rows)
    figure = go.Figure()
    for budget in sorted({label(row.budget) for row in rows}):
        _add_bars(figure, budget, users, [cells[user, budget] for user in users], palette[budget])
    if max(counts.values()) < 10:
        figure.update_xaxes(dtick=1)  # no half calls
    return _ranking(figure, title, "refused calls", len(users))


def token_kinds(rows: Sequence[TokenKinds]) -> go.Figure:
    """What the tokens of each model are: input, cache, output, reasoning; nothing counted twice."""
    title = "What the tokens are"
    if not rows:
        return nothing(title, _NO_CALLS)
    ordered = sorted(rows, key=lambda row: (-sum(row[1:]), label(row.model)))
    models = [label(row.model) for row in ordered]
    figure = go.Figure()
    for field, (name, colour) in _KINDS.items():
        _add_bars(figure, name, models, [getattr(row, field) for row in ordered], colour)
    return _ranking(figure, title, "tokens", len(models))


def latency(rows: Sequence[Latency]) -> go.Figure:
    """How long calls take by model: a line from the median to the 95th percentile."""
    title = "Duration of calls: median to 95th percentile"
    if not rows:
        return nothing(title, "No call that ended well says how long it took")
    models = [label(row.model) for row in rows]
    figure = go.Figure()
    figure.add_scatter(
        x=[x for row in rows for x in (row.p50_ms, row.p95_ms, None)],
        y=[y for model in models for y in (model, model, None)],
        mode="lines",
        line={"width": 6, "color": "#D5DAE0"},
        hoverinfo="skip",
        showlegend=False,
    )
    for name, field, colour, symbol in (
        ("first chunk of a stream, median", "first_chunk_p50_ms", "#CCBB44", "diamond"),
        ("median", "p50_ms", "#4477AA", "circle"),
        ("95th percentile", "p95_ms", "#EE6677", "circle"),
    ):
        figure.add_scatter(
            name=name,
            x=[getattr(row, field) for row in rows],
            y=models,
            customdata=[row.calls for row in rows],
            mode="markers",
            marker={"size": 12, "color": colour, "symbol": symbol},
            hovertemplate=(
                f"%{{y}}: %{{x:,.0f}} ms over %{{customdata:,}} calls<extra>{name}</extra>"
            ),
        )
    return _ranking(figure, title, "milliseconds", len(models))


def _short(number: int) -> str:
    """The d3-format of a headline: all digits below a million, then three and a prefix."""
    return ",d" if number < 1_000_000 else ".3~s"


def _payer(user: str | None, team: str | None) -> str:
    return label(user) if team is None else f"{label(user)} · {label(team)}"


def _greatest(amounts: Iterable[tuple[str, int]]) -> list[str]:
    """The names with the greatest sums, in the order of the alphabet; then the others, if any."""
    sums: Counter[str] = Counter()
    for name, amount in amounts:
        sums[name] += amount
    greatest = sorted(sums, key=lambda name: (-sums[name], name))[:_MODELS]
    return sorted(greatest) + ([OTHERS] if len(sums) > len(greatest) else [])


def _shown_as(name: str, shown: Sequence[str]) -> str:
    return name if name in shown else OTHERS


def _add_bars(
    figure: go.Figure, name: str, rows: Sequence[str], values: Sequence[int], colour: str
) -> None:
    if any(values):
        figure.add_bar(
            name=name,
            x=list(values),
            y=list(rows),
            orientation="h",
            marker_color=colour,
            hovertemplate=f"%{{y}}: %{{x:,}}<extra>{name}</extra>",
        )


def _ranking(figure: go.Figure, title: str, unit: str, rows: int) -> go.Figure:
    """Horizontal bars, the first row on top."""
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title=unit, rangemode="tozero", tickformat=",")
    figure.update_yaxes(autorange="reversed", type="category")
    return styled(figure, title, height=rows_high(rows))


def _duration(seconds: int) -> str:
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
