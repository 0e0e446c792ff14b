"""Money: what the tokens of one call cost.

Amounts are integers of pico-USD (1e-12 USD), so that sums are exact: at 0.15 USD per million
tokens, one token is 150,000 pico-USD.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final, NamedTuple, TypeAlias

from otel_atm.errors import ConfigurationError

#: Pico-USD of one USD.
PICO: Final = 10**12
#: When what has always held began, in nanoseconds since the epoch.
EVER: Final = -(1 << 63)
_PICO_PER_MICRO: Final = 10**6
#: The dearest price that is believed, in USD per million tokens: one USD a token.
MAX_USD_PER_MILLION: Final = 1_000_000

#: Input (with what was read from and written to a cache), output (with reasoning), cache read,
#: cache write, reasoning: as in `otel_atm.usage.Usage`.
Tokens: TypeAlias = tuple[int, int, int, int, int]


class Rates(NamedTuple):
    """Pico-USD for one token of each kind; `input` is for what no cache was involved in."""

    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int


class Tariff(NamedTuple):
    """What tokens cost as long as it holds.

    Attributes:
        steps: ``(n, rates)``: the rates of all tokens of a call with more than n input tokens.
            The highest n comes first, -1 last.
        per_call: what a call costs besides.
        scale: `per_call` and all rates are in pico-USD / `scale`, to be whole numbers.
    """

    steps: tuple[tuple[int, Rates], ...]
    per_call: int
    scale: int


#: Tariffs and when they hold, a time in nanoseconds since the epoch; the first that does counts.
Schedule: TypeAlias = tuple[tuple[Callable[[int], bool], Tariff], ...]


class Price:
    """What the calls of one model cost.

    Attributes:
        version: where it comes from, e.g. ``genai-prices 0.2.3`` or ``overrides 3f2a9c1b``.
        rates: what each token costs, where that is all there is to know: the same for any call
            at any later time, in whole pico-USD. None where `cost` has to tell.
    """

    __slots__ = ("_schedule", "_tariff", "rates", "version")

    def __init__(self, version: str, tariff: Tariff, schedule: Schedule = ()) -> None:
        """Make a price.

        Args:
            version: where it comes from.
            tariff: what holds when nothing of `schedule` does.
            schedule: what holds at certain times.
        """
        self.version = version
        self._tariff, self._schedule = tariff, schedule
        plain = not schedule and len(tariff.steps) == 1 and not tariff.per_call
        self.rates: Rates | None = tariff.steps[0][1] if plain and tariff.scale == 1 else None

    def cost(self, tokens: Tokens, at_ns: int) -> int:
        """Pico-USD of one call; half a one is rounded up.

        Args:
            tokens: of the call. What cannot be is set right: a part is no larger than its whole,
                and nothing is less than 0.
            at_ns: when the call was made, in nanoseconds since the epoch.
        """
        total, output, read, write, reasoning = tokens
        if read < 0 or write < 0 or read + write > total or not 0 <= reasoning <= output:
            total, output, read, write, reasoning = _sensible(tokens)
        rates, per_call, scale = self.rates, 0, 1
        if rates is None:
            steps, per_call, scale = self._at(at_ns) if self._schedule else self._tariff
            rates = steps[-1][1]
            for above, step in steps:
                if total > above:
                    rates = step
                    break
        each, each_read, each_write, each_out, each_reasoning = rates
        amount = (
            per_call
            + (total - read - write) * each
            + read * each_read
            + write * each_write
            + (output - reasoning) * each_out
            + reasoning * each_reasoning
        )
        return amount if scale == 1 else (2 * amount + scale) // (2 * scale)

    def _at(self, at_ns: int) -> Tariff:
        for holds, tariff in self._schedule:
            if holds(at_ns):
                return tariff
        return self._tariff

    def __repr__(self) -> str:
        return f"Price({self.version!r}, rates={self.rates!r})"


def _sensible(tokens: Tokens) -> Tokens:
    total, output, read, write, reasoning = (max(0, count) for count in tokens)
    read = min(read, total)
    return total, output, read, min(write, total - read), min(reasoning, output)


def make_tariff(
    steps: Sequence[tuple[int, Sequence[Fraction]]], per_call: Fraction = Fraction(0)
) -> Tariff:
    """A tariff from prices as people write them.

    Args:
        steps: ``(n, prices)``, see `Tariff`; USD per million tokens, in the order of `Rates`.
        per_call: USD for each call besides.
    """
    pico = [(above, [each * PICO / 10**6 for each in usd]) for above, usd in steps]
    fee = per_call * PICO
    scale = math.lcm(fee.denominator, *(each.denominator for _, row in pico for each in row))
    whole = tuple((above, Rates(*(int(each * scale) for each in row))) for above, row in pico)
    return Tariff(whole, int(fee * scale), scale)


def flat_price(usd_per_million: float) -> Price:
    """One price for tokens of all kinds, for models of which nothing else is known.

    Args:
        usd_per_million: USD per million tokens, from 0 to `MAX_USD_PER_MILLION`.

    Raises:
        ConfigurationError: it is none.

    >>> flat_price(2.5).cost((1000, 1000, 0, 0, 0), 0)
    5000000000
    """
    if isinstance(usd_per_million, bool) or not 0 <= usd_per_million <= MAX_USD_PER_MILLION:
        raise ConfigurationError(
            f"expected USD per million tokens, 0 to {MAX_USD_PER_MILLION}, not {usd_per_million!r}"
        )
    rate = Fraction(str(usd_per_million))
    return Price(f"flat {usd_per_million:g}", make_tariff([(-1, [rate] * len(Rates._fields))]))


def micro_usd(pico: int) -> int:
    """Whole micro-USD (1e-6 USD), rounded up: many tiny calls must not slip through a budget.

    >>> micro_usd(1), micro_usd(1_000_000), micro_usd(0)
    (1, 1, 0)
    """
    return -(-pico // _PICO_PER_MICRO)


def usd(pico: int) -> float:
    """USD, as near as a float comes.

    >>> usd(1_250_000_000_000)
    1.25
    """
    return pico / PICO
