"""Reading: tokens, model and provider from the attributes of a span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_atm.gate import Tokens
from otel_atm.spans.emitters import Emitter
from otel_atm.usage import MOST_TOKENS

_A_DAY_S: Final = 86_400


def read_tokens(emitter: Emitter, attributes: Mapping[str, Any]) -> Tokens | None:
    """What the span says was used; None when it says nothing.

    A subset that is larger than its whole (cache reads of an emitter that leaves them out of the
    input) is made part of it, so that input always includes cache and output reasoning.
    """
    given, made = attributes.get(emitter.input[0]), attributes.get(emitter.output[0])
    if (
        given.__class__ is made.__class__ is int
        and 0 < given < MOST_TOKENS > made >= 0
        and emitter.rare.isdisjoint(attributes)
    ):
        return given, made, 0, 0, 0  # as mostly
    total_input = _count(attributes, emitter.input)
    total_output = _count(attributes, emitter.output)
    if not total_input and not total_output:
        return None  # no call is free of both; an emitter that says 0 and 0 does not know
    cache_read = _count(attributes, emitter.cache_read)
    cache_write = _count(attributes, emitter.cache_write)
    reasoning = _count(attributes, emitter.reasoning)
    if emitter.cache_apart or total_input < cache_read + cache_write:
        total_input += cache_read + cache_write
    if total_output < reasoning:
        total_output += reasoning
    return total_input, total_output, cache_read, cache_write, reasoning


def read_text(attributes: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """The first of these attributes that is a text and not empty."""
    for key in keys:
        value = attributes.get(key)
        if value and isinstance(value, str):
            return value
    return None


def read_provider(emitter: Emitter, attributes: Mapping[str, Any]) -> str | None:
    """The provider that a span names, as all rows name it."""
    said = read_text(attributes, emitter.provider)
    if said is None or not emitter.providers:
        return said
    return emitter.providers.get(said.lower(), said.lower())


def _count(attributes: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    for key in keys:
        value = attributes.get(key)
        if value is not None:
            return _integer(value)
    return 0


def _integer(value: object) -> int:
    """A count ≥ 0; emitters have been seen to send floats, and -1 for unknown."""
    if type(value) is int:
        return value if 0 <= value < MOST_TOKENS else 0
    if isinstance(value, float) and 0 <= value < MOST_TOKENS and value.is_integer():
        return int(value)
    return 0


def microseconds(seconds: object) -> int | None:
    """A time that a span tells in seconds; None if it is none that a call can take."""
    if isinstance(seconds, int | float) and 0 <= seconds < _A_DAY_S:  # no NaN, no infinity
        return int(seconds * 1e6)
    return None
