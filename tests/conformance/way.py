"""A way to use a client, and what was seen while it was tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import otel_atm as atm
from otel_atm.testing import Reported

PLENTY: Final = atm.Budget("1000M tokens / month", name="plenty")
CALLS: Final = atm.Budget("1M requests / month", name="calls")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to use a client.

    Attributes:
        run: uses it once with a text, and reads what comes back to its end.
        requests: that this sends.
        told: whether the provider tells what it used, to each request.
        calls: rows that it makes; None for as many as requests: a client's retries are one call.
        refusals: rows that say "refused" when it is; more than one if it calls many times at once.
        statuses: that its rows may have.
        note: for the page.
        cannot: a check of `judge` → why it cannot be passed; the page says so, it is no failure.
    """

    run: Callable[[str], None]
    requests: int = 1
    told: bool = True
    calls: int | None = None
    refusals: int = 1
    statuses: tuple[str, ...] = ("ok",)
    note: str = ""
    cannot: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Tried:
    """What was seen while a way was tried, but for its rows.

    Attributes:
        requests, lines: of the server, for the calls that were let in.
        raised: what these raised; mostly nothing.
        charged: budget → what they were charged.
        held: budget → what was still held when each try was over.
        refused: budget → requests that the server saw, and what the application saw.
        misfit: what happened instead of a use that just fits into its budget; mostly nothing.
        seconds: that all this took.
    """

    way: Way
    requests: int = 0
    lines: list[Reported] = field(default_factory=list)
    raised: list[BaseException] = field(default_factory=list)
    charged: dict[str, float] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    refused: dict[str, tuple[int, BaseException | None]] = field(default_factory=dict)
    misfit: str = ""
    seconds: float = 0

    @property
    def calls(self) -> int:
        """That one use of the way makes."""
        return self.way.requests if self.way.calls is None else self.way.calls
