"""The OpenAI endpoints."""

from __future__ import annotations

from otel_atm.testing.provider.openai.chat import ChatCompletions
from otel_atm.testing.provider.openai.completions import Completions
from otel_atm.testing.provider.openai.dialect import refusal
from otel_atm.testing.provider.openai.embeddings import Embeddings
from otel_atm.testing.provider.openai.models import model_list
from otel_atm.testing.provider.openai.responses import Responses

__all__ = ["ChatCompletions", "Completions", "Embeddings", "Responses", "model_list", "refusal"]
