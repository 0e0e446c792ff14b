"""Tokenizers: how many tokens a text is, for which model, and how sure that is.

::

    from otel_atm import tokenizers

    tokenizers.standard().count("Hello, world!", "gpt-5.1")

Nothing in here opens a socket, but for `AnthropicCount` and the command that fetches files.
"""

from otel_atm.tokenizers.anthropic import AnthropicCount
from otel_atm.tokenizers.count import TokenCount, Tokenizer
from otel_atm.tokenizers.own import from_file, from_function
from otel_atm.tokenizers.registry import Tokenizers
from otel_atm.tokenizers.standard import standard

__all__ = [
    "AnthropicCount",
    "TokenCount",
    "Tokenizer",
    "Tokenizers",
    "from_file",
    "from_function",
    "standard",
]
