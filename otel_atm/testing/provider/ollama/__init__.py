"""The Ollama endpoints."""

from __future__ import annotations

from otel_atm.testing.provider.ollama.chat import Chat
from otel_atm.testing.provider.ollama.dialect import refusal
from otel_atm.testing.provider.ollama.embed import Embed
from otel_atm.testing.provider.ollama.generate import Generate

__all__ = ["Chat", "Embed", "Generate", "refusal"]
