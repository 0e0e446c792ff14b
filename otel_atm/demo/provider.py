"""The provider of the demo: on this machine, with token counts that follow from the request."""

from __future__ import annotations

from typing import Final

from otel_atm.demo.cast import CAST
from otel_atm.testing import Asked, Faults, ProviderServer, Tokens

# model → tokens of an answer, and how many of them are reasoning
_OUTPUT: Final = {"gpt-5": (180, 112), "gpt-5-mini": (88, 32), "gpt-5-nano": (56, 0)}
_CHARACTERS_PER_TOKEN: Final = 4
#: Providers cache the beginning of a prompt in blocks.
_CACHE_BLOCK: Final = 128


def provider() -> ProviderServer:
    """A server that answers the demo's agents: tool calls first, then words."""
    lookups = max(task.lookups for person in CAST for task in person.tasks)
    return ProviderServer(usage_of, faults=Faults(tool_rounds=lookups))


def usage_of(asked: Asked) -> Tokens:
    """Made up, but like in life: input grows with the conversation, and its beginning is cached."""
    tokens = asked.characters // _CHARACTERS_PER_TOKEN
    output, reasoning = _OUTPUT[asked.model]
    cached = (tokens - _CACHE_BLOCK) // _CACHE_BLOCK * _CACHE_BLOCK
    return Tokens(input=tokens, output=output, cache_read=max(0, cached), reasoning=reasoning)
