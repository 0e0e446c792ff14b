"""The endpoints of Amazon Bedrock's runtime."""

from __future__ import annotations

from otel_atm.testing.provider.bedrock.converse import Converse, ConverseStream
from otel_atm.testing.provider.bedrock.invoke import Invoke, InvokeStream

__all__ = ["Converse", "ConverseStream", "Invoke", "InvokeStream"]
