"""Estimates: their error is what the documentation says, for each kind of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.tokenizers import TokenCount, Tokenizers
from otel_atm.tokenizers.estimate import ByBytes, factor, utf8
from otel_atm.tokenizers.local import StandIn, Vocabularies
from tests.docs.pages import DOCS, section, table_rows
from tests.tokenizers.texts import TEXTS

#: Kinds that the bound of bytes / 2.8 does not hold for, as the page says.
UNBOUNDED = {"Emoji", "Base64"}


def measured(kind: str, real: Tokenizers) -> list[str]:
    """A row of the page."""
    text = TEXTS[kind]
    tokens, guess = real.count(text, "gpt-5").tokens, ByBytes().count(text, None)
    return [
        kind,
        f"{utf8(text) / tokens:.2f}",
        f"{guess.tokens / tokens - 1:+.0%}",
        f"{guess.upper / tokens - 1:+.0%}",
        f"{real.count(text, 'gpt-4').tokens / tokens - 1:+.0%}",
    ]


def test_the_page_says_how_far_off_estimates_are(real: Tokenizers) -> None:
    page = section((DOCS / "how-to/tokenizers.md").read_text("utf-8"), "How far off estimates are")
    assert table_rows(page)[1:] == [measured(kind, real) for kind in TEXTS]


@pytest.mark.parametrize("kind", TEXTS)
def test_the_upper_bound_holds_for_what_people_write(kind: str, real: Tokenizers) -> None:
    holds = real.count(TEXTS[kind], "gpt-5").tokens <= ByBytes().count(TEXTS[kind], None).upper
    assert holds == (kind not in UNBOUNDED)


@pytest.mark.parametrize("kind", TEXTS)
def test_the_bound_of_the_stand_in_holds_for_the_other_vocabulary_that_is_here(
    kind: str, real: Tokenizers, vocabularies: Vocabularies
) -> None:
    stand_in = StandIn(vocabularies).count(TEXTS[kind], "unknown")
    assert stand_in is not None
    assert real.count(TEXTS[kind], "gpt-4").tokens <= stand_in.upper


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_has_more_tokens_than_bytes(real: Tokenizers, text: str) -> None:
    assert real.count(text, "gpt-5").tokens <= utf8(text)


def test_an_estimate_is_rounded_up_and_says_what_it_is() -> None:
    assert ByBytes().count("Hello", None) == TokenCount(2, True, "bytes", 2)
    assert ByBytes().count("Grüße, 世界", None) == TokenCount(4, True, "bytes", 6)


@pytest.mark.parametrize(
    ("model", "times"),
    [
        ("claude-opus-4-7", 1.35),
        ("claude-opus-4.7", 1.35),
        ("us.anthropic.claude-opus-4-8-20270101-v1:0", 1.35),
        ("claude-sonnet-5", 1.35),
        ("claude-sonnet-5-20261101", 1.35),
        ("claude-haiku-10", 1.35),
        ("claude-next", 1.35),
        ("claude-opus-4-6", 1.0),
        ("claude-sonnet-4-5-20250929", 1.0),
        ("claude-opus-4-20250514", 1.0),
        ("claude-opus-4@20250514", 1.0),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", 1.0),
        ("claude-2.1", 1.0),
        ("claude-instant-1.2", 1.0),
        ("gemini-2.5-pro", 1.0),
        (None, 1.0),
    ],
)
def test_newer_claudes_have_more_tokens_for_the_same_text(model: str | None, times: float) -> None:
    assert factor(model) == times
