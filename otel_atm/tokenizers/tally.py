"""A tally: the tokens of a request, part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from otel_atm.tokenizers.count import TokenCount
from otel_atm.tokenizers.estimate import MEDIA_TOKENS, MEDIA_TYPES

#: Where parts of messages have text; and where they have what goes into tools and comes out.
_SAID: Final = ("text", "content", "parts", "name", "function", "functionCall", "functionResponse")
_GIVEN: Final = ("arguments", "input", "args", "output", "response")
_GEMINI_MEDIA: Final = ("inlineData", "inline_data", "fileData", "file_data")


class Tally:
    """Adds up what a request has.

    Args:
        count: counts one text.

    Attributes:
        tokens, at_most: so far.
        exact: whether all of it was counted as the provider does, and nothing added.
        method: of the texts.
    """

    def __init__(self, count: Callable[[str], TokenCount]) -> None:
        self._count = count
        self.tokens = self.at_most = 0
        self.exact, self.method = True, "none"

    def text(self, text: str) -> None:
        """A text that the model reads."""
        found = self._count(text)
        self.tokens += found.tokens
        self.at_most += found.upper
        self.exact, self.method = self.exact and not found.estimated, found.method

    def add(self, tokens: int) -> None:
        """Tokens that nobody wrote."""
        self.numbers(tokens)
        self.exact = False

    def numbers(self, tokens: int) -> None:
        """Tokens that are given as such."""
        self.tokens, self.at_most = self.tokens + tokens, self.at_most + tokens

    def json(self, value: Any) -> None:
        """Something that the model reads as JSON; an unusual value as Python shows it."""
        if value:
            try:
                self.text(orjson.dumps(value, default=str).decode())
            except TypeError:  # keys that are no texts, halves of characters, too deep
                self.text(repr(value))
            self.exact = False

    def content(self, content: Any) -> None:
        """What a message says: a text, a part, or a list of them."""
        if isinstance(content, str):
            self.text(content)
        elif isinstance(content, list | tuple):
            for part in content:
                self.content(part)
        elif isinstance(content, Mapping):
            self._part(content)

    def _part(self, part: Mapping[str, Any]) -> None:
        kind = part.get("type")
        if kind == "document":
            self._document(part.get("source"))
        elif (isinstance(kind, str) and kind in MEDIA_TYPES) or any(
            name in part for name in _GEMINI_MEDIA
        ):
            self.add(MEDIA_TOKENS)
        else:
            for name in _SAID:
                self.content(part.get(name))
            for name in _GIVEN:
                self._given(part.get(name))

    def _given(self, value: Any) -> None:
        if isinstance(value, Mapping):
            self.json(value)
        else:
            self.content(value)

    def _document(self, source: Any) -> None:
        """Anthropic's: a text, parts, or a file."""
        kind = source.get("type") if isinstance(source, Mapping) else None
        if kind in ("text", "content"):
            self.content(source.get("data") if kind == "text" else source.get("content"))
        else:
            self.add(MEDIA_TOKENS)

    def result(self, shape: str) -> TokenCount:
        """All of it, of a wire format."""
        method = self.method if self.exact else f"{self.method}+{shape}"
        return TokenCount(max(0, self.tokens), not self.exact, method, max(0, self.at_most))
