"""The Cohere endpoints, of its second API and of its first."""

from __future__ import annotations

from otel_atm.testing.provider.cohere.chat import Chat
from otel_atm.testing.provider.cohere.chat_v1 import ChatV1
from otel_atm.testing.provider.cohere.dialect import refusal
from otel_atm.testing.provider.cohere.embed import Embed

__all__ = ["Chat", "ChatV1", "Embed", "refusal"]
