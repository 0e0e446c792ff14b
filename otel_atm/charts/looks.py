"""What all figures have in common: colours, names, sizes, and a drawing of nothing."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any, Final
from zlib import crc32

import plotly.graph_objects as go

#: Give it to ``figure.show(config=…)`` and to renderers. Without it plotly.js puts a button on
#: every chart that uploads its data to a service of Plotly's.
CONFIG: Final[dict[str, Any]] = {"showSendToCloud": False, "displaylogo": False}

#: Told apart by most colour-blind eyes (Paul Tol, "bright" and "muted").
PALETTE: Final = (
    "#4477AA",
    "#EE6677",
    "#228833",
    "#CCBB44",
    "#66CCEE",
    "#AA3377",
    "#332288",
    "#44AA99",
    "#999933",
    "#882255",
)
GREY: Final = "#9AA0A6"

UNKNOWN: Final = "(unknown)"
#: What all but the greatest are drawn as together.
OTHERS: Final = "(others)"


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, the same in every figure and on every day.

    The name chooses its colour. Where two choose the same, the later in the alphabet takes the
    next free one, so only these depend on which names are there.
    """
    chosen: dict[str, str] = {OTHERS: GREY, UNKNOWN: GREY}
    taken: set[int] = set()
    for name in sorted(set(names) - chosen.keys()):
        slot = crc32(name.encode()) % len(PALETTE)
        while slot in taken and len(taken) < len(PALETTE):
            slot = (slot + 1) % len(PALETTE)
        taken.add(slot)
        chosen[name] = PALETTE[slot]
    return chosen


def label(name: str | None) -> str:
    """A name as a figure may show it: Plotly reads tags in texts, and names come from outside."""
    return UNKNOWN if name is None else escape(name, quote=False)


def styled(figure: go.Figure, title: str, *, height: int = 380) -> go.Figure:
    """Title, size, white ground, and below the title a legend in the order of the stacks."""
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0, "xref": "paper", "y": 0.97, "yanchor": "top"},
        title_font_size=16,
        height=height,
        margin={"l": 10, "r": 10, "t": 90, "b": 10},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        separators=".,",
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def rows_high(rows: int) -> int:
    """The height of a figure with that many horizontal bars, in pixels."""
    return 190 + 30 * max(rows, 2)


def nothing(title: str, reason: str) -> go.Figure:
    """A figure that says why it is empty."""
    figure = styled(go.Figure(), title, height=220)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(
        text=reason, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font={"size": 14}
    )
    return figure
