"""The token counts of one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from otel_atm.testing.provider.asked import Asked


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an answer costs, in tokens.

    `input` includes `cache_read` and `cache_write`; `output` includes `reasoning`. Counts that
    contradict this raise `ValueError`. Zero means that none were used.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def __post_init__(self) -> None:
        if min(self.input, self.output, self.cache_read, self.cache_write, self.reasoning) < 0:
            raise ValueError(f"token counts cannot be negative: {self}")
        if self.cache_read + self.cache_write > self.input:
            raise ValueError(f"cached tokens are part of the input: {self}")
        if self.reasoning > self.output:
            raise ValueError(f"reasoning tokens are part of the output: {self}")

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            reasoning=self.reasoning + other.reasoning,
        )


Spending = Tokens | Callable[[Asked], Tokens]
"""The tokens of every answer, or a function that tells them from what was asked."""
