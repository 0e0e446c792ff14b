"""The Anthropic endpoint."""

from __future__ import annotations

from otel_atm.testing.provider.anthropic.errors import refusal
from otel_atm.testing.provider.anthropic.messages import Messages

__all__ = ["Messages", "refusal"]
