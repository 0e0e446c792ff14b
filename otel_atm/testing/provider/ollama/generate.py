"""`POST /api/generate`."""

from __future__ import annotations

from typing import ClassVar

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.call import Call
from otel_atm.testing.provider.dialect import Fields
from otel_atm.testing.provider.ollama.dialect import Ollama


class Generate(Ollama):
    """Completions of a text."""

    paths = ("/api/generate",)
    needs: ClassVar[Fields] = {"model": str, "prompt": str}
    prompts = ("system", "prompt", "suffix")

    def said(self, says: str | Call) -> Json:
        """A text."""
        return {"response": says}
