"""The made-up but always equal texts and vectors of answers."""

from __future__ import annotations

import re
from itertools import cycle, islice

_STORY = (
    "the small river runs past old stone walls and green fields until it meets the wide open sea "
    "where many white birds rest on warm sand before they turn north again"
)


def sentence(words: int) -> str:
    """A text of that many words, at least one; always the same one."""
    return " ".join(islice(cycle(_STORY.split()), max(words, 1)))


def pieces(text: str, count: int = 4) -> list[str]:
    """Cut `text` between words into at most `count` pieces of about equal length."""
    words = re.findall(r"\S+\s*", text)
    size = -(-len(words) // count)
    return ["".join(words[start : start + size]) for start in range(0, len(words), size or 1)]


def vector(dimensions: int, index: int) -> list[float]:
    """The embedding of a text, told apart by its `index` among those of a request."""
    return [1.0 / (1 + index + place) for place in range(dimensions)]
