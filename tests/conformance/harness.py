"""Ways to use a client: each counted once, with the provider's tokens, and stopped before the wire.

What happens is written down, not asserted: a page is made of it, and some of it cannot be helped.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm.testing import Asked, ProviderServer, Tokens
from tests.conformance.verdict import Result, Row, judge, names
from tests.conformance.way import CALLS, PLENTY, Tried, Way

__all__ = ["Harness", "Way", "spending"]

#: Of different lengths, so that the provider's answers differ; long enough for `SHORT`.
TEXTS: Final = ("It was a bright cold day in April. " * 6, "The clocks struck thirteen. " * 9)
#: As many calls as a way makes: one use of it fits, and then no other.
USED_UP: Final = "used up"
#: What is left of it lets a span in of which nothing is known, but not the request below it.
SHORT: Final = "short"
STRICT: Final = atm.Budget("1000 tokens / month per user", name=SHORT, mode="strict")
SPENT_OF_SHORT: Final = 970

#: Users: with budget enough, and with just enough. Others are named after their budgets.
ANN, FITTING = ROLES = "ann", "fitting"


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
        self._use_up(name, tried)
        self._fall_short(name, tried)
        tried.seconds = time.monotonic() - began

    def results(self) -> Iterator[Result]:
        """What came of each way, and at last of rows that belong to none."""
        gc.collect()
        self._provider.force_flush()
        time.sleep(0.5)  # nobody says when a thread that might report has nothing to report
        rows = self._rows()
        for name, tried in self._tried.items():
            groups = [rows.pop(_user(name, role), []) for role in (*ROLES, USED_UP, SHORT)]
            yield {"way": name, **judge(tried, groups[0], groups[2:])}
        yield {"strays": sum(map(len, rows.values()))}

    def _let_in(self, name: str, tried: Tried) -> None:
        before = self._begin([PLENTY, CALLS])
        with atm.context(user=_user(name, ANN)):
            for text in TEXTS:
                error = _raised(tried.way.run, text)
                tried.raised += [error] if error is not None else []
        self._settle(tried)
        after = self._used()
        tried.charged = {label: after[label] - before[label] for label in (*after, *before)}
        tried.requests, tried.lines = self._server.requests, self._server.reported

    def _use_up(self, name: str, tried: Tried) -> None:
        noun = "request" if tried.calls == 1 else "requests"
        self._begin([atm.Budget(f"{tried.calls} {noun} / month per team", name=USED_UP)])
        with atm.context(user=_user(name, FITTING), team=name):
            error = _raised(tried.way.run, TEXTS[0])
        self._settle(tried)
        if error is not None or self._server.requests != tried.way.requests:
            tried.misfit = f"{self._server.requests} requests; the application saw {names(error)}"
        self._refused(name, tried, USED_UP)

    def _fall_short(self, name: str, tried: Tried) -> None:
        self._begin([STRICT])
        with atm.context(user=_user(name, SHORT)), self._processor.admit(tokens=SPENT_OF_SHORT):
            pass
        self._refused(name, tried, SHORT)

    def _refused(self, name: str, tried: Tried, budget: str) -> None:
        self._server.reset()
        with atm.context(user=_user(name, budget), team=name):
            error = _raised(tried.way.run, TEXTS[0])
        self._settle(tried)
        tried.refused[budget] = self._server.requests, error

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


def _user(way: str, role: str) -> str:
    return f"{role}: {way}"


def _raised(run: Callable[[str], None], text: str) -> BaseException | None:
    try:
        run(text)
    except Exception as error:  # noqa: BLE001 - what comes out is what is wanted
        return error
    return None
