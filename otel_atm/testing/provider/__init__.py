"""A local LLM provider that speaks the wire formats of seven: OpenAI, Anthropic, Gemini, Bedrock ….

It answers with words it makes up and with token usage that is known beforehand, keeps a record of
what it told its clients, and misbehaves on request. It needs the extra `server`.
"""

from __future__ import annotations

from otel_atm.testing.provider.asked import Asked
from otel_atm.testing.provider.faults import Faults
from otel_atm.testing.provider.reported import Reported
from otel_atm.testing.provider.server import ProviderServer
from otel_atm.testing.provider.tokens import Tokens

__all__ = ["Asked", "Faults", "ProviderServer", "Reported", "Tokens"]
