"""Ways to use a client: each counted once, with the provider's tokens, and stopped before the wire.

What happens is written down, not asserted: a page is made of it, and some of it cannot be helped.
"""

from __future__ import annotations

import gc
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm.testing import Asked, ProviderServer, Reported, Tokens

#: Of different lengths, so that the provider's answers differ; long enough for `SHORT`.
TEXTS: Final = ("It was a bright cold day in April. " * 6, "The clocks struck thirteen. " * 9)
PLENTY: Final = atm.Budget("1000M tokens / month", name="plenty")
CALLS: Final = atm.Budget("1M requests / month", name="calls")
#: Used up before the way is tried.
USED_UP: Final = atm.Budget("1 request / month per user", name="used up")
#: What is left of it lets a span in of which nothing is known, but not the request below it.
SHORT: Final = atm.Budget("1000 tokens / month per user", name="short", mode="strict")
SPENT_OF_SHORT: Final = 970
#: Checks that a way may be unable to pass, with the reason, in `Way.cannot`.
CHECKS: Final = ("counted", "tokens", "charged", "blocked", "refused once", "seen")

Row = dict[str, Any]
Result = dict[str, Any]
_Counts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to use a client.

    Attributes:
        run: uses it once with a text, and reads what comes back to its end.
        requests: that this sends.
        told: whether the provider tells what it used.
        calls: rows that it makes; None for as many as requests: a client's retries are one call.
        note: for the page.
        cannot: a check → why it cannot be passed; it is shown on the page and is no failure.
    """

    run: Callable[[str], None]
    requests: int = 1
    told: bool = True
    calls: int | None = None
    note: str = ""
    cannot: Mapping[str, str] = field(default_factory=dict)


def spending(asked: Asked) -> Tokens:
    """Other tokens for each length of a prompt, in every field, so that no mix-up goes unseen."""
    length = asked.characters
    return Tokens(
        input=100 + length,
        output=40 + length % 17,
        cache_read=length % 50,
        cache_write=length % 31,
        reasoning=1 + length % 13,
    )


@dataclass(slots=True)
class Tried:
    """What was seen while a way was tried, but for its rows.

    Attributes:
        requests, lines: of the server, for the calls that were let in.
        raised: what these raised; mostly nothing.
        charged: budget → what they were charged.
        held: budget → what was still held when each try was over.
        refused: budget → requests that the server saw, and what the application saw.
        seconds: that all this took.
    """

    way: Way
    requests: int = 0
    lines: list[Reported] = field(default_factory=list)
    raised: list[BaseException] = field(default_factory=list)
    charged: dict[str, float] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    refused: dict[str, tuple[int, BaseException | None]] = field(default_factory=dict)
    seconds: float = 0


class Harness:
    """Tries ways one after the other, then reads what was written of them all.

    Args:
        processor: that should meter them.
        provider: whose spans are flushed.
        server: that they are sent to.
        store: the DuckDB file that `processor` writes.
    """

    def __init__(
        self,
        processor: atm.TokenSpanProcessor,
        provider: TracerProvider,
        server: ProviderServer,
        store: Path,
    ) -> None:
        self._processor, self._provider, self._server = processor, provider, server
        self._store = store
        self._tried: dict[str, Tried] = {}

    def try_way(self, name: str, way: Way) -> None:
        """Use it twice with budget enough, and once each with too little."""
        began = time.monotonic()
        tried = self._tried[name] = Tried(way)
        self._let_in(name, tried)
        self._refuse(name, tried, USED_UP, spent=1)
        self._refuse(name, tried, SHORT, spent=SPENT_OF_SHORT)
        tried.seconds = time.monotonic() - began

    def results(self) -> Iterator[Result]:
        """What came of each way, and at last of rows that belong to none."""
        gc.collect()
        self._provider.force_flush()
        time.sleep(0.5)  # nobody says when a thread that might report has nothing to report
        rows = self._rows()
        for name, tried in self._tried.items():
            groups = [rows.pop(_user(name, budget), []) for budget in (None, USED_UP, SHORT)]
            yield {"way": name, **judge(tried, *groups)}
        yield {"strays": sum(map(len, rows.values()))}

    def _let_in(self, name: str, tried: Tried) -> None:
        before = self._begin([PLENTY, CALLS])
        with atm.context(user=_user(name, None)):
            for text in TEXTS:
                error = _raised(tried.way.run, text)
                tried.raised += [error] if error is not None else []
        self._settle(tried)
        after = self._used()
        tried.charged = {label: after[label] - before[label] for label in (*after, *before)}
        tried.requests, tried.lines = self._server.requests, self._server.reported

    def _refuse(self, name: str, tried: Tried, budget: atm.Budget, spent: int) -> None:
        self._begin([budget])
        with atm.context(user=_user(name, budget)):
            with self._processor.admit(tokens=spent):
                pass
            error = _raised(tried.way.run, TEXTS[0])
        self._settle(tried)
        tried.refused[budget.label] = self._server.requests, error

    def _begin(self, budgets: list[atm.Budget]) -> Mapping[str, float]:
        self._processor.set_budgets(budgets)
        self._server.reset()
        return self._used()

    def _settle(self, tried: Tried) -> None:
        if any(status.held for status in self._processor.budgets()):
            gc.collect()  # a stream that nobody holds any more is over
        for status in self._processor.budgets():
            if status.held:
                tried.held[status.name] = tried.held.get(status.name, 0) + status.held

    def _used(self) -> defaultdict[str, float]:
        used: defaultdict[str, float] = defaultdict(float)
        for status in self._processor.budgets():
            used[status.name] += status.used
        return used

    def _rows(self) -> dict[str | None, list[Row]]:
        """User → rows, without the ones that the harness made itself."""
        self._processor.force_flush()
        rows: dict[str | None, list[Row]] = defaultdict(list)
        with atm.connect(self._store) as db:
            found = db.sql("from usage_events where source <> 'admit' order by ts, event_id")
            for values in found.fetchall():
                row = dict(zip(found.columns, values, strict=True))
                rows[row["user_id"]].append(row)
        return rows


def judge(tried: Tried, rows: list[Row], *refused: list[Row]) -> Result:
    """What a way came to, as JSON; `failed` says of each check that it did not pass why.

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
            label: {"requests": requests, "raised": [type(one).__name__ for one in _chain(error)]}
            for label, (requests, error) in tried.refused.items()
        },
        "failed": {check: said for check, said in found.items() if check not in cannot},
        "cannot": {check: cannot[check] for check in found if check in cannot},
        "seconds": round(tried.seconds, 2),
    }


_Finding = Iterator[tuple[str, str]]


def _uncounted(tried: Tried, rows: list[Row]) -> _Finding:
    way = tried.way
    requests, calls = 2 * way.requests, 2 * (way.requests if way.calls is None else way.calls)
    attempts = sum(row["attempts"] for row in rows)
    said = {(row["status"], row["decision"]) for row in rows}
    if tried.raised:
        yield "counted", f"the application saw {_names(tried.raised[0])}"
    elif tried.requests != requests:
        yield "counted", f"{tried.requests} requests instead of {requests}"
    elif len(rows) != calls or attempts != requests:
        yield "counted", f"{len(rows)} rows, {attempts} attempts for {calls} calls"
    elif said != {("ok", "allowed")}:
        yield "counted", f"rows say {sorted(said)}"


def _unlike(tried: Tried, rows: list[Row]) -> _Finding:
    """Each row says what the provider told; where it told nothing, that it is an estimate."""
    found = Counter(_tokens(row) for row in rows if not row["estimated"])
    told = Counter(_told(line) for line in tried.lines if line.told)
    if tried.way.told is not all(line.told for line in tried.lines):
        yield "tokens", f"told={tried.way.told} is not what the server did"
    elif found != told:
        yield "tokens", f"rows have {_list(found - told)}; told was {_list(told - found)}"
    elif any(row["estimated"] and not row["total_tokens"] for row in rows):
        yield "tokens", "an estimate of nothing"


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
        decisions = [row["decision"] for row in rows]
        if decisions != ["refused"]:
            yield "refused once", f"{label}: rows say {decisions}"
        if not any(isinstance(one, atm.TokenQuotaExceeded) for one in _chain(error)):
            yield "seen", f"{label}: the application saw {_names(error)}"


def _user(way: str, budget: atm.Budget | None) -> str:
    return f"{'ann' if budget is None else budget.label}: {way}"


def _raised(run: Callable[[str], None], text: str) -> BaseException | None:
    try:
        run(text)
    except Exception as error:  # noqa: BLE001 - what comes out is what is wanted
        return error
    return None


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error, what it came from, and what was gathered in it: outermost first."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return found


def _names(error: BaseException | None) -> str:
    """The types of a chain of errors, and the text of the first."""
    if error is None:
        return "nothing"
    return f"{' < '.join(type(one).__name__ for one in _chain(error))}: {str(error)[:300]}"


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
