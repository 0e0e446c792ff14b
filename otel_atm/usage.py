"""Usage: what one call spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: More tokens than any call has; a number that is no less is taken for a mistake.
MOST_TOKENS: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the provider reports them; all are integers ≥ 0 and < 2⁴⁰.

    `input_tokens` includes what was read from and written to a prompt cache, `output_tokens`
    includes reasoning (OpenTelemetry GenAI conventions, ``gen_ai.usage.*``): the subsets are
    never added again.

    Attributes:
        input_tokens: of the prompt.
        output_tokens: of the answer.
        cache_read_tokens: the part of the input that was read from the provider's cache.
        cache_write_tokens: the part of the input that was written to it.
        reasoning_tokens: the part of the output that is reasoning.
        estimated: True when the numbers are ours and not the provider's.

    >>> Usage(input_tokens=11, output_tokens=7, cache_read_tokens=4).total_tokens
    18
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    def __post_init__(self) -> None:
        for name in _COUNTS:
            count = getattr(self, name)
            if type(count) is not int or count < 0:
                raise ValueError(f"{name} must be an integer ≥ 0, not {count!r}")
            if count >= MOST_TOKENS:
                raise ValueError(f"{name} must be less than {MOST_TOKENS:,}, not {count:,}")

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)

#: A call that used nothing.
NOTHING = Usage()
