"""Anthropic's own count, asked over the network: only where somebody makes one of these."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import iscoroutinefunction
from math import ceil
from typing import Any, Final, Protocol

from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers.count import TokenCount
from otel_atm.tokenizers.requests import REPLY, TURN

#: What its endpoint takes of a request.
_FIELDS: Final = ("messages", "system", "tools", "tool_choice", "thinking")
#: Anthropic calls the count an estimate that "may differ by a small amount" from what is billed.
_AT_MOST: Final = 1.02
_METHOD: Final = "anthropic:count_tokens"


class _Client(Protocol):
    """As `anthropic.Anthropic` is."""

    @property
    def messages(self) -> Any:
        """Has ``count_tokens``."""

    def with_options(self, *, timeout: float, max_retries: int) -> Any:
        """The same client, more impatient."""


class AnthropicCount:
    """Counts by Anthropic's ``/v1/messages/count_tokens``: free, rate limited, over the network.

    Each count sends the text to Anthropic and waits for the answer. Register it for Claude only:
    ``tokenizers.register(AnthropicCount(anthropic.Anthropic()), models="claude-*")``. Where there
    is no answer, the next tokenizer is asked.

    Args:
        client: an ``anthropic.Anthropic``; yours to close. It is asked once a count, no retries.
        timeout_s: for how long a count may wait.

    Raises:
        ConfigurationError: the client is an ``AsyncAnthropic``.
    """

    def __init__(self, client: _Client, *, timeout_s: float = 2.0) -> None:
        if iscoroutinefunction(client.messages.count_tokens):
            given = type(client).__name__
            raise ConfigurationError(f"client={given}: expected an anthropic.Anthropic")
        self._client = client.with_options(timeout=timeout_s, max_retries=0)

    def count(self, text: str, model: str | None) -> TokenCount | None:
        """As `Tokenizer.count`; None without a model or a text, which the endpoint refuses."""
        body = {"messages": [{"role": "user", "content": text}]}
        whole = self.count_request(body, "anthropic.messages", model) if text.strip() else None
        if whole is None:
            return None
        tokens = max(1, whole.tokens - TURN - REPLY)
        return TokenCount(tokens, True, _METHOD, ceil(tokens * _AT_MOST))

    def count_request(
        self, body: Mapping[str, Any], shape: str, model: str | None
    ) -> TokenCount | None:
        """As `Tokenizers.count_request`; None for other wire formats.

        Raises:
            Exception: what the client raises; `Tokenizers` asks the next one then.
        """
        if shape != "anthropic.messages" or not model:
            return None
        given = {name: body[name] for name in _FIELDS if body.get(name)}
        tokens = self._client.messages.count_tokens(model=model, **given).input_tokens
        return TokenCount(tokens, True, _METHOD, ceil(tokens * _AT_MOST))
