"""The `usageMetadata` of Gemini."""

from __future__ import annotations

from fractions import Fraction

from otel_atm.testing.provider.body import Json
from otel_atm.testing.provider.tokens import Tokens


def usage(tokens: Tokens, part: Fraction = Fraction(1)) -> Json:
    """All that was used when a part of the answer is out; its thoughts came before it.

    The prompt includes what came from the cache; the candidates leave out the thoughts.
    """
    visible = int((tokens.output - tokens.reasoning) * part)
    text = {"modality": "TEXT", "tokenCount": tokens.input}
    return {
        "promptTokenCount": tokens.input,
        **({"candidatesTokenCount": visible} if visible else {}),
        "totalTokenCount": tokens.input + visible + tokens.reasoning,
        **({"cachedContentTokenCount": tokens.cache_read} if tokens.cache_read else {}),
        "promptTokensDetails": [text],
        **({"thoughtsTokenCount": tokens.reasoning} if tokens.reasoning else {}),
    }
