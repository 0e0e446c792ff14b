"""Verdict: which checks a way has passed, told from what was seen and from its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import otel_atm as atm
from otel_atm.testing import Reported
from tests.conformance.way import CALLS, PLENTY, Tried

Row = dict[str, Any]
Result = dict[str, Any]
_Counts = tuple[int, ...]


def judge(tried: Tried, rows: list[Row], refused: list[list[Row]]) -> Result:
    """What a way came to, as JSON; `failed` says of each check that it did not pass why.

    The checks: "counted", "tokens", "charged", "fits", "blocked", "refused once", "seen".

    Args:
        tried: what was seen.
        rows: of the calls that were let in.
        refused: rows of the calls that had to be refused, for each budget.
    """
    found = dict(
        (
            *_uncounted(tried, rows),
            *_unlike(tried, rows),
            *_uncharged(tried, rows),
            *([("fits", tried.misfit)] if tried.misfit else []),
            *_unstopped(tried, refused),
        )
    )
    cannot = tried.way.cannot
    return {
        "note": tried.way.note,
        "told": tried.way.told,
        "requests": tried.requests,
        "rows": len(rows),
        "attempts": sum(row["attempts"] for row in rows),
        "sources": sorted({row["source"] for row in rows}),
        "refused": {
            label: {"requests": requests, "raised": [type(one).__name__ for one in chain(error)]}
            for label, (requests, error) in tried.refused.items()
        },
        "failed": {check: said for check, said in found.items() if check not in cannot},
        "cannot": {check: cannot[check] for check in found if check in cannot},
        "seconds": round(tried.seconds, 2),
    }


_Finding = Iterator[tuple[str, str]]


def _uncounted(tried: Tried, rows: list[Row]) -> _Finding:
    way = tried.way
    requests, calls = 2 * way.requests, 2 * tried.calls
    attempts = sum(row["attempts"] for row in rows)
    said = {(row["status"], row["decision"]) for row in rows}
    allowed = {(status, "allowed") for status in way.statuses}
    if tried.raised:
        yield "counted", f"the application saw {names(tried.raised[0])}"
    elif tried.requests != requests:
        yield "counted", f"{tried.requests} requests instead of {requests}"
    elif len(rows) != calls or attempts != requests:
        yield "counted", f"{len(rows)} rows, {attempts} attempts for {calls} calls"
    elif not said <= allowed:
        yield "counted", f"rows say {sorted(said)}"


def _unlike(tried: Tried, rows: list[Row]) -> _Finding:
    """Each row says what the provider told; where it told nothing, that it is an estimate."""
    found = Counter(_tokens(row) for row in rows if not row["estimated"])
    # The length of what it asked; some frameworks name sessions by themselves.
    by_session = [row for row in rows if (row["session_id"] or "").isdigit()]
    told = Counter(_told(line) for line in tried.lines if line.told)
    if tried.way.told is not all(line.told for line in tried.lines):
        yield "tokens", f"told={tried.way.told} is not what the server did"
    elif found != told:
        yield "tokens", f"rows have {_list(found - told)}; told was {_list(told - found)}"
    elif not rows:
        yield "tokens", "no rows"
    elif any(row["estimated"] and not row["total_tokens"] for row in rows):
        yield "tokens", "an estimate of nothing"
    elif any(row["input_tokens"] != 100 + int(row["session_id"]) for row in by_session):
        yield "tokens", "a session has the row of another"


def _uncharged(tried: Tried, rows: list[Row]) -> _Finding:
    """The budgets were charged what the rows say, and nothing is held when all is over."""
    wanted = {PLENTY.label: sum(row["total_tokens"] for row in rows), CALLS.label: len(rows)}
    for label, amount in wanted.items():
        charged = tried.charged.get(label, 0)
        if charged != amount:
            yield "charged", f"{label}: {charged:g} charged, the rows say {amount}"
    for label, held in tried.held.items():
        yield "charged", f"{label}: {held:g} still held"


def _unstopped(tried: Tried, refused: Iterable[list[Row]]) -> _Finding:
    for (label, (requests, error)), rows in zip(tried.refused.items(), refused, strict=True):
        if requests:
            yield "blocked", f"{label}: {requests} requests were sent"
        decisions = Counter[str]()
        for row in rows:  # refusals that repeat share a row
            decisions[row["decision"]] += row["calls"]
        if decisions != {"refused": tried.way.refusals}:
            yield "refused once", f"{label}: rows say {dict(decisions)}"
        if not any(isinstance(one, atm.TokenQuotaExceeded) for one in chain(error)):
            yield "seen", f"{label}: the application saw {names(error)}"


def chain(error: BaseException | None) -> list[BaseException]:
    """The error, what it came from, and what was gathered in it: outermost first."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return found


def names(error: BaseException | None) -> str:
    """The types of a chain of errors, and the text of the first."""
    if error is None:
        return "nothing"
    return f"{' < '.join(type(one).__name__ for one in chain(error))}: {str(error)[:300]}"


def _tokens(row: Row) -> _Counts:
    kinds = ("input", "output", "cache_read", "cache_write", "reasoning", "total")
    return tuple(row[f"{kind}_tokens"] for kind in kinds)


def _told(line: Reported) -> _Counts:
    counts, total = line.tokens, line.input_tokens + line.output_tokens
    return (
        *(counts.input, counts.output, counts.cache_read, counts.cache_write, counts.reasoning),
        total,
    )


def _list(counts: Counter[_Counts]) -> str:
    return ", ".join(map(str, counts.elements())) or "nothing"
