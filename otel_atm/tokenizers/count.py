"""Counts of tokens, and who makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable


class TokenCount(NamedTuple):
    """How many tokens a text is.

    Attributes:
        tokens: the number, ≥ 0; of an estimate, what is expected.
        estimated: False where it was counted as the model's provider counts.
        method: how it came about, e.g. "tiktoken:o200k_base"; never any of the text.
        at_most: what an estimate may really be; how sure that is, its tokenizer says. None: as
            `tokens`.
    """

    tokens: int
    estimated: bool = False
    method: str = ""
    at_most: int | None = None

    @property
    def upper(self) -> int:
        """The number to hold where too little would be wrong: `at_most`, else `tokens`."""
        return self.tokens if self.at_most is None else max(self.tokens, self.at_most)


class Tokenizer(Protocol):
    """Counts the tokens of texts. It is called from any thread, several at once."""

    def count(self, text: str, model: str | None) -> TokenCount | None:
        """How many tokens a model reads in a text, without what a chat adds to it.

        Args:
            text: any; it must not be kept.
            model: as the call has it, e.g. ``gpt-5.1``. None: not known.

        Returns:
            None where it cannot tell; then the next tokenizer is asked.
        """


@runtime_checkable
class RequestTokenizer(Protocol):
    """A tokenizer that counts whole requests, too."""

    def count_request(
        self, body: Mapping[str, Any], shape: str, model: str | None
    ) -> TokenCount | None:
        """As `Tokenizers.count_request`; None where it cannot tell."""
