"""Tokenizers: how many tokens a text is, for which model, and how sure that is.

::

    from otel_atm import tokenizers

    tokenizers.standard().count("Hello, world!", "gpt-5.1")

Nothing in here opens a socket, but for `AnthropicCount` and the command that fetches files. Guards
need no more than `estimate`, so all else is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from otel_atm.tokenizers.count import TokenCount, Tokenizer

if TYPE_CHECKING:
    from otel_atm.tokenizers.anthropic import AnthropicCount
    from otel_atm.tokenizers.machine import standard
    from otel_atm.tokenizers.own import from_file, from_function
    from otel_atm.tokenizers.registry import Tokenizers

__all__ = [
    "AnthropicCount",
    "TokenCount",
    "Tokenizer",
    "Tokenizers",
    "from_file",
    "from_function",
    "standard",
]

_LAZY = {
    "AnthropicCount": "anthropic",
    "Tokenizers": "registry",
    "from_file": "own",
    "from_function": "own",
    "standard": "machine",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'otel_atm.tokenizers' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"otel_atm.tokenizers.{_LAZY[name]}"), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
