"""The Gemini endpoints, of the Gemini API and of Vertex AI."""

from __future__ import annotations

from otel_atm.testing.provider.gemini.count import COUNT_PATHS, count_tokens
from otel_atm.testing.provider.gemini.dialect import refusal
from otel_atm.testing.provider.gemini.embed import BatchEmbedContents, EmbedContent
from otel_atm.testing.provider.gemini.generate import GenerateContent, StreamGenerateContent

__all__ = [
    "COUNT_PATHS",
    "BatchEmbedContents",
    "EmbedContent",
    "GenerateContent",
    "StreamGenerateContent",
    "count_tokens",
    "refusal",
]
