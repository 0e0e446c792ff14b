"""Estimates by size: the factors that stand for a tokenizer where there is none.

How far off they are for which kind of text is measured in ``docs/how-to/tokenizers.md``.
"""

from __future__ import annotations

import re
from math import ceil
from typing import Final

from otel_atm.tokenizers.count import TokenCount

#: Bytes of UTF-8 for one token. English and code have more, other scripts fewer characters but
#: more bytes each; characters would be off by 60 % for Chinese.
BYTES_PER_TOKEN: Final = 4
#: The fewest that text has, but for emoji and what is no language: base64, random letters.
FEWEST_BYTES_PER_TOKEN: Final = 2.8
#: Tokens of one picture, sound or document: OpenAI has 85 to 1,445 for a picture, Anthropic up to
#: about 1,600, Gemini 258 a tile. What it really was, the answer tells.
MEDIA_TOKENS: Final = 1_000
#: Parts of a message that name or hold something else than text, by their ``type``.
MEDIA_TYPES: Final = frozenset(
    (
        *("image", "image_url", "input_image", "audio", "audio_url", "input_audio"),
        *("video_url", "file", "input_file"),
    )
)
#: Tokens of Claude from 4.7 on for one of another vocabulary. Anthropic says 1.0 to 1.35 times
#: those of Claude before; others found up to 1.47 for English. Not measured by us.
NEW_CLAUDE: Final = 1.35

_CLAUDE: Final = re.compile(r"claude(?:-[a-z]+)*-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def utf8(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def tokens_in(text_bytes: int, media: int = 0) -> int:
    """About how many tokens so many bytes of text and so many pictures are."""
    return -(-text_bytes // BYTES_PER_TOKEN) + media * MEDIA_TOKENS


def factor(model: str | None) -> float:
    """How many tokens a model has for one of OpenAI's vocabularies; 1.0 for most.

    >>> factor("anthropic.claude-opus-4-7-v1:0"), factor("claude-opus-4-20250514")
    (1.35, 1.0)
    """
    if model is None or "claude" not in model:
        return 1.0
    version = _CLAUDE.search(model)
    if version is None:
        return NEW_CLAUDE if "claude-instant" not in model else 1.0
    return NEW_CLAUDE if (int(version[1]), int(version[2] or 0)) >= (4, 7) else 1.0


class ByBytes:
    """Estimates by bytes alone: no file, no import."""

    def count(self, text: str, model: str | None) -> TokenCount:
        """As `Tokenizer.count`; always an estimate, never None."""
        size, times = utf8(text), factor(model)
        return TokenCount(
            ceil(tokens_in(size) * times),
            estimated=True,
            method="bytes",
            at_most=ceil(size / FEWEST_BYTES_PER_TOKEN * times),
        )
