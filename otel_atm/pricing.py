"""Prices: from a file of the user's own, else from genai-prices, offline and dated."""

from __future__ import annotations

from typing import Final, TypeAlias

from otel_atm.cache import Cache
from otel_atm.late import late_import
from otel_atm.price import Price, Rates, Tokens, flat_price, micro_usd, usd
from otel_atm.price_file import PriceFile, read_price_file

__all__ = [
    "Price",
    "PriceFile",
    "Prices",
    "Rates",
    "Tokens",
    "flat_price",
    "micro_usd",
    "read_price_file",
    "usd",
]

_REMEMBERED: Final = 1024

# (from when on, price), the latest first
_Timeline: TypeAlias = tuple[tuple[int, Price], ...]


class Prices:
    """Finds the price of a model.

    Nothing is asked over a network, ever: genai-prices brings its table along. It is imported when
    the first call comes that the overrides do not answer, which takes about half a second; `warm`
    does it sooner.

    Args:
        overrides: prices that go before those of genai-prices.
    """

    def __init__(self, overrides: PriceFile | None = None) -> None:
        self._overrides = overrides
        # (provider, model) → prices
        self._own: Cache[tuple[str | None, str], _Timeline] = Cache(_REMEMBERED)
        self._public: Cache[tuple[str | None, str], _Timeline] = Cache(_REMEMBERED)

    def find(self, provider: str | None, model: str | None, at_ns: int) -> Price | None:
        """The price of a model's calls at a time; None when it is not known.

        Args:
            provider: as ``gen_ai.provider.name`` or the older ``gen_ai.system`` has it, or None.
            model: as the request or the answer names it, or None.
            at_ns: when the call was made, in nanoseconds since the epoch.

        Returns:
            A price whose `rates`, if it has any, hold for later calls, too, unless the file of
            overrides has an entry for this model that starts later.
        """
        if model is None:
            return None
        key = (provider, model)
        if self._overrides is not None:
            timeline = self._own.get(key)
            if timeline is None:
                timeline = self._overrides.timeline(provider, model)
                self._own.put(key, timeline)
            for start_ns, price in timeline:
                if at_ns >= start_ns:
                    return price
        timeline = self._public.get(key)
        if timeline is None:
            timeline = self._look_up(provider, model)
            self._public.put(key, timeline)
        for start_ns, price in timeline:
            if at_ns >= start_ns:
                return price
        return None

    def warm(self) -> None:
        """Import genai-prices now."""
        self._look_up(None, "gpt-5")

    def _look_up(self, provider: str | None, model: str) -> _Timeline:
        with late_import():
            from otel_atm.price_list import timeline

        return timeline(provider, model)
