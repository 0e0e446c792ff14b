"""The Mistral endpoints, which lie below `/mistral`: their paths are those of OpenAI."""

from __future__ import annotations

from otel_atm.testing.provider.mistral.chat import Chat
from otel_atm.testing.provider.mistral.dialect import PREFIX, refusal
from otel_atm.testing.provider.mistral.embeddings import Embeddings

__all__ = ["PREFIX", "Chat", "Embeddings", "refusal"]
