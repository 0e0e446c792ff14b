"""What the Mistral endpoints share: errors, and counts that are fewer than OpenAI's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.openai.dialect import refusal as openai_refusal
from otel_atm.testing.provider.problem import Problem
from otel_atm.testing.provider.tokens import Tokens

PREFIX = "/mistral"


def fit(tokens: Tokens) -> Tokens:
    """Neither reasoning nor writing to the cache is told."""
    return replace(tokens, cache_write=0, reasoning=0)


def usage(tokens: Tokens) -> Json:
    """The usage object."""
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read},
    }


def refusal(problem: Problem) -> Json:
    """The error body: OpenAI's, laid flat."""
    error: dict[str, Any] = openai_refusal(problem)["error"]
    return {"object": "error", **error}
